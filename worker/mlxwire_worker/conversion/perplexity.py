"""Measures the perplexity of a model folder on a text, computed as a worker would compute it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..engine import LoadOptions
from ..mlx_engine.models.assembly import Assembled, assemble, materialize
from ..mlx_engine.models.model_files import failed
from ..mlx_engine.models.preflight import CheckedModel
from ..mlx_engine.text.tokenizer import Tokenizer
from ..training.data.batches import in_order
from ..training.data.rows import Row
from ..training.loss import mean_loss
from .task import Text, too_short

WINDOW = 513
"""Tokens that are read together; all but the first of them are predicted."""
_ROWS = 2
Report = Callable[..., None]


class Perplexity(NamedTuple):
    """The perplexity, and the number of tokens that were predicted."""

    value: float
    tokens: int


def measure(checked: CheckedModel, text: Text, stage: str, report: Report) -> Perplexity:
    """Return the exponential of the mean negative log-probability of a text's tokens.

    Raises: WireError, also for a text without two tokens.
    """
    assembled = open_model(checked)
    ids = encode(checked.path, text)
    rows = windows(ids, min(WINDOW, assembled.context.tokens))
    report(stage, 0, len(rows))
    materialize(assembled.model, lambda *_: None)
    batches = in_order(rows, _ROWS, WINDOW, learns_end=False)
    loss = mean_loss(assembled.model, batches, partial(report, stage, total=len(rows)))
    if not math.isfinite(loss):
        raise failed(
            "not_finite",
            f"the perplexity of {checked.path.name!r} on the text is not finite; the weights are damaged, "
            "or too few bits are left of them",
        )
    return Perplexity(math.exp(min(loss, 700.0)), sum(len(row.ids) - 1 for row in rows))


def open_model(checked: CheckedModel) -> Assembled:
    """Build a checked model in the dtype in which a worker would compute it. Raises: WireError."""
    options = LoadOptions(path=str(checked.path), compute_dtype="auto")
    return assemble(options, checked, None, lambda: None)


def encode(folder: Path, text: Text) -> NDArray[np.int32]:
    """Return the token ids of a text. Raises: WireError for fewer than two."""
    ids = Tokenizer.from_folder(folder).encode_prompt(text.content)
    if len(ids) < 2:
        raise too_short(text, len(ids), 2)
    return np.array(ids, np.int32)


def windows(ids: NDArray[np.int32], width: int) -> list[Row]:
    """Cut tokens into windows; each begins with the last token of the one before."""
    return [
        Row(ids[start : start + width], 0, False) for start in range(0, len(ids) - 1, width - 1)
    ]
