"""The same client for programs without an event loop: all of it, blocking.

Each worker has one background thread with a loop of its own, on which the asyncio client runs;
`close` ends both. Ctrl-C while a call blocks cancels that call in the worker.
"""

from .model import Model, PromptCache
from .pool import Pool
from .stream import BatchStream, TokenStream
from .supervisor import Supervisor
from .worker import Worker

__all__ = [
    "BatchStream",
    "Model",
    "Pool",
    "PromptCache",
    "Supervisor",
    "TokenStream",
    "Worker",
]
