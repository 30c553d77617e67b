"""Computes texts through an encoder, in slices of a bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import mlx.core as mx

from ...prompts import AdapterUse
from ..cache.kv import padded
from ..one_pass.embedding.slices import Piece
from ..one_pass.groups import GPU_WIDTHS, GROUP_TOKENS
from ..sequences.prefill import ChunkSize
from .bert import LEAST_QUERIES, MOST_SCORES, Encoder
from .families import EncoderShape

PASS_COPIES, SCORE_COPIES = 5, 8
"""The copies of a layer's outputs, and of a part's attention scores, that exist at once.

Measured on a CPU, where MLX allocates the results of about ten operations before they are computed.
"""


def pass_bytes(shape: EncoderShape, context: int) -> int:
    """Estimate the bytes beside the weights while texts of ``context`` tokens are computed."""
    tokens = max(context, GROUP_TOKENS)
    outputs = PASS_COPIES * (5 * shape.width + shape.inner) * tokens
    part = max(MOST_SCORES, LEAST_QUERIES * shape.heads * context)
    return mx.float32.size * (outputs + SCORE_COPIES * part)


class EncoderPass:
    """The passes of one encoder. ``chunk`` tells how many tokens a slice may have."""

    def __init__(self, model: Encoder, chunk: ChunkSize) -> None:
        self._model = model
        self._chunk = chunk

    def pieces(
        self,
        rows: list[list[int]],
        adapter: AdapterUse | None,
        types: list[list[int]] | None = None,
    ) -> Iterator[Piece | None]:
        """Yield None after each slice of layers, then the last layer's states of all tokens.

        A whole pass that takes longer than a slice may is cut between layers.
        """
        assert adapter is None
        lengths = [len(row) for row in rows]
        width = max(lengths)
        if mx.default_device() != mx.cpu:
            width = min(-(-width // GPU_WIDTHS) * GPU_WIDTHS, self._model.shape.positions)
        kinds = None if types is None else padded(types, width)
        size = len(rows) * width
        each = size > self._chunk.tokens
        began, paused = time.perf_counter(), 0.0
        states = None
        for states in self._model.states(padded(rows, width), kinds, lengths):
            if each:
                mx.eval(states)
                left = time.perf_counter()
                yield None
                paused += time.perf_counter() - left
        assert states is not None
        mx.eval(states)
        self._chunk.learn(size, time.perf_counter() - began - paused)
        yield Piece(0, states)
