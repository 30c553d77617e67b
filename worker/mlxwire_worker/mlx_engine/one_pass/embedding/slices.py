"""`embed` on the engine's thread: texts of similar length in one pass, slice by slice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol, cast

import mlx.core as mx

from ....passes import Texts
from ....prompts import AdapterUse
from ...models.soundness import NoNumbers
from ..groups import next_group
from ..stepping import Work, next_results
from .embedder import VectorForm
from .pooling import Dense, Pool, finished

GROUP_TEXTS = 64


class Piece(NamedTuple):
    """Hidden states [B, T, D] of tokens of texts, from the place ``start`` on."""

    start: int
    states: mx.array


class Pass(Protocol):
    """A model that computes the hidden states of texts, in slices."""

    def pieces(
        self, rows: list[list[int]], adapter: AdapterUse | None
    ) -> Iterator[Piece | None]:
        """Yield the states of texts [B] piece by piece; None where others may step meanwhile."""
        ...


class VectorTools(NamedTuple):
    """The parts of a loaded model that compute vectors."""

    passing: Pass
    dense: tuple[Dense, ...] = ()


def embed_slice(tools: VectorTools, texts: Texts) -> list[tuple[int, list[float]]]:
    """Compute one slice; return (index, vector) pairs if it completes a group, else none.

    Raises: WireError ``model_load_failed`` for a vector with NaN or infinity.
    """
    form = texts.options
    assert isinstance(form, VectorForm)
    return next_results(
        texts, lambda: _embed_all(tools, form, texts.ids, texts.left, texts.adapter)
    )


def _embed_all(
    tools: VectorTools,
    form: VectorForm,
    ids: list[list[int]],
    left: list[int],
    adapter: AdapterUse | None,
) -> Work[list[float]]:
    """Compute the texts, group by group. Shortens ``left``."""
    while left:
        places = next_group(left, lambda place: len(ids[place]), texts=GROUP_TEXTS)
        rows = [ids[place] for place in places]
        pool = Pool(form, [len(row) for row in rows])
        pooled = None
        for piece in tools.passing.pieces(rows, adapter):
            if piece is None:
                yield None
                continue
            pooled = pool.add(piece.start, piece.states)
            mx.eval(pooled)
        assert pooled is not None
        vectors = cast(list[list[float]], finished(pooled, form, tools.dense).tolist())
        if not all(map(math.isfinite, (number for vector in vectors for number in vector))):
            raise NoNumbers
        yield list(zip(places, vectors, strict=True))
