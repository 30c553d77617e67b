"""The same client for programs without an event loop: every call blocks until it is answered.

Each worker or pool has one background thread, on which the asyncio client runs; `close` ends the
thread too. Ctrl-C during a call cancels that call in the worker.
"""

from .cache import PromptCache
from .model import Model
from .pool import Pool
from .stream import BatchStream, TokenStream
from .worker import Worker

__all__ = [
    "BatchStream",
    "Model",
    "Pool",
    "PromptCache",
    "TokenStream",
    "Worker",
]
