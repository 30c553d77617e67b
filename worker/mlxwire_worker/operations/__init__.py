"""Operations: one file for each command, with all that the worker does for it."""

from __future__ import annotations

from .adapter import AdapterOperation
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
from .models.discover import DiscoverOperation
from .models.fit import FitOperation
from .operation import Operation
from .texts.embed import EmbedOperation
from .texts.render import RenderOperation
from .texts.rerank import RerankOperation
from .texts.score import ScoreOperation
from .tokenize import TokenizeOperation
from .training.evaluate import EvaluateOperation
from .training.train import TrainOperation
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
    ("render", None): RenderOperation,
    ("embed", None): EmbedOperation,
    ("rerank", None): RerankOperation,
    ("score", None): ScoreOperation,
    ("discover", None): DiscoverOperation,
    ("fit", None): FitOperation,
    ("inspect", None): InspectOperation,
    ("cache", None): CacheOperation,
    ("adapter", None): AdapterOperation,
    ("cache", "warm"): WarmOperation,
    ("train", None): TrainOperation,
    ("evaluate", None): EvaluateOperation,
    ("memory", None): MemoryOperation,
    ("metrics", None): MetricsOperation,
}
"""The operation of each row of the table of commands; the session itself answers the others."""
