"""The same client for programs without an event loop: every call blocks until it is answered.

Each worker or pool has one background thread, on which the asyncio client runs; `close` ends the
thread too. Ctrl-C during a call cancels that call in the worker.
"""

from .cache import PromptCache
from .conversion import convert
from .model import Model
from .pool import Pool
from .pulling import pull
from .stream import (
    BatchStream,
    ClassifyStream,
    DiscoverStream,
    EmbeddingStream,
    ParsedBatch,
    ParsedStream,
    ScoreStream,
    TokenStream,
)
from .tools import run_tools
from .training import Training
from .worker import Worker

__all__ = [
    "BatchStream",
    "ClassifyStream",
    "DiscoverStream",
    "EmbeddingStream",
    "Model",
    "ParsedBatch",
    "ParsedStream",
    "Pool",
    "PromptCache",
    "ScoreStream",
    "TokenStream",
    "Training",
    "Worker",
    "convert",
    "pull",
    "run_tools",
]
