"""The progress and the results of `train` and `evaluate` as types."""

from __future__ import annotations

from ..messages import AdapterFormat, Count
from ..replies import Progress, Result
from .requests import Method


class TrainProgress(Progress, kw_only=True, tag="progress"):
    """The progress of a `train` in its stage `train`; ``done`` and ``total`` are steps.

    ``loss`` is the mean of the steps since the last message, ``validation_loss`` null where none was
    computed. ``tokens`` and ``seconds`` count from the start.
    """

    step: Count
    loss: float
    validation_loss: float | None
    learning_rate: float
    tokens: Count
    seconds: float
    tokens_per_second: float
    peak_memory_bytes: Count
    seconds_left: float


class TrainResult(Result, kw_only=True, tag="result"):
    """The answer to `train`: the folder of the result, its losses, and what the training took.

    Losses are means over target tokens, in nats; ``tokens`` are those trained on.
    """

    adapter: str
    method: Method
    format: AdapterFormat
    first_loss: float
    last_loss: float
    validation_loss: float | None
    steps: Count
    tokens: Count
    rows: Count
    truncated_rows: Count
    seconds: float
    peak_memory_bytes: Count
    loaded_as: str | None = None


class EvaluateResult(Result, kw_only=True, tag="result"):
    """The answer to `evaluate`: the mean loss over target tokens in nats, and its exponential."""

    loss: float
    perplexity: float
    tokens: Count
    rows: Count
    truncated_rows: Count
    seconds: float
