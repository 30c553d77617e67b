"""Operations: one file for each command, with all that the worker does for it."""

from __future__ import annotations

from .batch import BatchOperation
from .cache import CacheOperation, WarmOperation
from .chat import ChatOperation
from .classify import ClassifyOperation
from .detokenize import DetokenizeOperation
from .generate import GenerateOperation
from .info import InfoOperation
from .inspect import InspectOperation
from .load import LoadOperation
from .memory import MemoryOperation
from .metrics import MetricsOperation
from .operation import Operation
from .tokenize import TokenizeOperation
from .unload import UnloadOperation

OPERATIONS: dict[tuple[str, str | None], type[Operation]] = {
    ("load", None): LoadOperation,
    ("unload", None): UnloadOperation,
    ("info", None): InfoOperation,
    ("generate", None): GenerateOperation,
    ("chat", None): ChatOperation,
    ("batch", None): BatchOperation,
    ("classify", None): ClassifyOperation,
    ("tokenize", None): TokenizeOperation,
    ("detokenize", None): DetokenizeOperation,
    ("inspect", None): InspectOperation,
    ("cache", None): CacheOperation,
    ("cache", "warm"): WarmOperation,
    ("memory", None): MemoryOperation,
    ("metrics", None): MetricsOperation,
}
"""The operation of each row of the table of commands; the session itself answers the others."""
