"""Computes the groups of a request slice by slice, whatever is worked out for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import mlx.core as mx
from mlx_lm.generate import generation_stream

from ...passes import Texts
from ..models.soundness import NoNumbers, blamed

Result = TypeVar("Result")
Work = Iterator[list[tuple[int, Result]] | None]
"""Yields each group's results by index, or None after a slice without results."""


def next_results(texts: Texts, begin: Callable[[], Work[Result]]) -> list[tuple[int, Result]]:
    """Compute one slice; return (index, result) pairs if it completes a group, else none.

    ``begin`` creates the work at the first slice. The work shortens ``texts.left``.
    Raises: WireError ``model_load_failed`` where the model computes NaN or infinity.
    """
    if texts.work is None:
        texts.work = begin()
    try:
        with mx.stream(generation_stream):
            results: list[tuple[int, Result]] | None = next(texts.work)
    except NoNumbers as error:
        raise blamed(error, texts.adapter) from None
    if results and not texts.left:
        texts.work = None
    return results or []
