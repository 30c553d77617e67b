"""The hidden states of a causal model behind its last norm, where its head would read them.

No part of mlx-lm promises where they are: a module's trunk is found by its name, and believed only
if the model's head gives the model's own order of tokens for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.generate import generation_stream

from ....prompts import AdapterUse
from ...adapters.row_model import RowModel
from ...adapters.slots import AdapterSlots
from ...cache import kv
from ...sequences.prefill import ChunkSize
from .embedder import no_vectors
from .slices import Piece

_TRUNKS = ("model", "transformer", "backbone")
_ORDER = 1e-3
"""The part of the logits' range by which rounding may put two tokens into another order."""
NO_STATES = "mlx-lm's module of its architecture does not tell the hidden states of its tokens"


class CausalPass:
    """The passes of one causal model, with one adapter for all texts of a request."""

    def __init__(self, model: Any, adapters: AdapterSlots, chunk: ChunkSize) -> None:
        self._model = model
        self._adapters = adapters
        self._chunk = chunk
        self._checked = False

    def pieces(
        self, rows: list[list[int]], adapter: AdapterUse | None
    ) -> Iterator[Piece | None]:
        """Yield the states of each slice's tokens, and None behind each but the last.

        Padding stands behind a text, so that no token of the text sees it.
        Raises: WireError ``unsupported_capability``.
        """
        trunk = self._trunk()
        compute = RowModel(trunk, self._adapters).alike(adapter)
        layers = kv.own_caches(self._model)
        length = max(map(len, rows))
        ids = kv.padded(rows, length)
        start = 0
        while start < length:
            width = max(1, self._chunk.tokens // len(rows))
            began = time.perf_counter()
            states = compute(ids[:, start : start + width], cache=layers)
            mx.eval(states, kv.states(layers))
            self._chunk.learn(states.shape[0] * states.shape[1], time.perf_counter() - began)
            yield Piece(start, states)
            start += states.shape[1]
            if start < length:
                yield None

    def _trunk(self) -> Any:
        model, trunk = self._model, trunk_of(self._model)
        self._checked = self._checked or (
            trunk is not None and _leads_to_logits(model, trunk, self._adapters)
        )
        if not self._checked:
            raise no_vectors(NO_STATES)
        return trunk


def trunk_of(model: Any) -> Any | None:
    """Return the part of a model that computes hidden states; None if it has none of a known name."""
    inner = model
    while isinstance(below := getattr(inner, "language_model", None), nn.Module):
        inner = below
    for name in _TRUNKS:
        if isinstance(trunk := getattr(inner, name, None), nn.Module) and callable(trunk):
            return trunk
    return None


def hidden_width(model: Any) -> int:
    """Return the numbers of a token's hidden state, lazily; 0 if they are not known."""
    trunk = trunk_of(model)
    if trunk is None:
        return 0
    try:
        states = trunk(mx.array([[0]]), cache=kv.own_caches(model))
        return int(states.shape[-1])
    except (TypeError, ValueError, AttributeError, IndexError):
        return 0


def _leads_to_logits(model: Any, trunk: Any, adapters: AdapterSlots) -> bool:
    """Return True if a head of the model orders tokens by the trunk's states as the model does.

    A model may scale or bound its logits behind the head, which changes no order.
    """
    ids = mx.array([[1, 0, 1]])
    try:
        with mx.stream(generation_stream), adapters.rows([None]):
            logits = model(ids, cache=kv.own_caches(model))[0, -1].astype(mx.float32)
            states = trunk(ids, cache=kv.own_caches(model))
            if states.ndim != 3 or states.shape[:2] != ids.shape:
                return False
            return any(
                _same_order(head(states)[0, -1].astype(mx.float32), logits)
                for head in _heads(model, trunk)
            )
    except (TypeError, ValueError, AttributeError):
        return False


def _heads(model: Any, trunk: Any) -> Iterator[Any]:
    """Yield what may turn hidden states into logits: a layer of its own, or the embeddings."""
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] in ("lm_head", "embed_out", "output"):
            yield module
    for module in trunk.modules():
        if callable(head := getattr(module, "as_linear", None)):
            yield head


def _same_order(ours: mx.array, theirs: mx.array) -> bool:
    if ours.shape != theirs.shape:
        return False
    sorted_by_ours = theirs[mx.argsort(ours)]
    steps = sorted_by_ours[1:] - sorted_by_ours[:-1]
    room = (theirs.max() - theirs.min()) * _ORDER
    return bool((steps >= -room).all().item())
