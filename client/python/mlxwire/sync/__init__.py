"""The same client for programs without an event loop: `Worker`, `Model` and iterators that block.

Each worker has one background thread with a loop of its own, on which the asyncio client runs;
`close` ends both. Ctrl-C while a call blocks cancels that call in the worker.
"""

from .model import Model, PromptCache
from .stream import BatchStream, TokenStream
from .worker import Worker

__all__ = ["BatchStream", "Model", "PromptCache", "TokenStream", "Worker"]
