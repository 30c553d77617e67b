"""Pools the hidden states of texts to vectors, and brings these to their final form."""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx
from mlx import nn

from ...models.model_files import failed, quoted
from .embedder import VectorForm
from .settings import DenseLayer

_SMALLEST = 1e-12
"""A vector that is shorter counts as this long, so that zeros stay zeros; torch has the same."""


class Pool:
    """The pooled hidden states of texts [B, D], in float32; the states come in pieces.

    A mean is over the tokens behind the ``skipped`` ones; a weighted mean counts a token by its place.
    """

    def __init__(self, form: VectorForm, lengths: list[int]) -> None:
        self._pooling = form.pooling
        self._lengths = mx.array(lengths)
        self._first = mx.minimum(form.skipped, self._lengths - 1)
        self._pooled: mx.array | None = None

    def add(self, start: int, states: mx.array) -> mx.array:
        """Take the states [B, T, D] of the tokens from ``start`` on; return all that is pooled."""
        places = mx.arange(start, start + states.shape[1])[None]
        own = (places >= self._first[:, None]) & (places < self._lengths[:, None])
        states = states.astype(mx.float32)
        if self._pooling == "max":
            found = mx.where(own[..., None], states, -mx.inf).max(axis=1)
            held = found if self._pooled is None else mx.maximum(self._pooled, found)
        else:
            weights = self._weights(places, own)
            # Not where(weights, …): a masked state may be infinite where padding overflows.
            found = (mx.where(own[..., None], states, 0) * weights[..., None]).sum(axis=1)
            held = found if self._pooled is None else self._pooled + found
        self._pooled = held
        return held

    def _weights(self, places: mx.array, own: mx.array) -> mx.array:
        """Return each token's weight [B, T] in the vector; 0 for padding."""
        count = self._lengths - self._first
        if self._pooling in ("first", "last"):
            wanted = self._first if self._pooling == "first" else self._lengths - 1
            return (places == wanted[:, None]).astype(mx.float32)
        if self._pooling == "weighted_mean":
            total = (self._lengths * (self._lengths + 1) - self._first * (self._first + 1)) / 2
            return own * (places + 1) / total[:, None]
        divisor = mx.sqrt(count) if self._pooling == "mean_sqrt_length" else count
        return own / divisor[:, None]


class Dense(NamedTuple):
    """A linear layer behind the pooling: weight [outputs, inputs], bias, activation."""

    weight: mx.array
    bias: mx.array | None
    activation: str

    @classmethod
    def read(cls, layer: DenseLayer) -> Dense:
        """Read a layer, lazily. Raises: WireError ``model_load_failed``."""
        file = layer.folder / "model.safetensors"
        try:
            tensors: Any = mx.load(str(file))
        except Exception as error:
            raise _damaged(f"can't be read ({quoted(error)})", layer) from None
        weight, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
        if weight is None or weight.shape != (layer.outputs, layer.inputs):
            raise _damaged("has no `linear.weight` of the sizes in its config.json", layer)
        if layer.bias and (bias is None or bias.shape != (layer.outputs,)):
            raise _damaged("has no `linear.bias` of the size in its config.json", layer)
        return cls(
            weight.astype(mx.float32),
            bias.astype(mx.float32) if layer.bias else None,
            layer.activation,
        )

    @property
    def arrays(self) -> list[mx.array]:
        """Return the arrays of the layer."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def __call__(self, vectors: mx.array) -> mx.array:
        """Return vectors [B, outputs] for [B, inputs]."""
        out = vectors @ self.weight.T
        if self.bias is not None:
            out = out + self.bias
        if self.activation == "tanh":
            return mx.tanh(out)
        if self.activation == "sigmoid":
            return mx.sigmoid(out)
        activated: mx.array = nn.relu(out) if self.activation == "relu" else out
        return activated


def finished(pooled: mx.array, form: VectorForm, dense: tuple[Dense, ...]) -> mx.array:
    """Return vectors [B, W] of pooled states [B, D]: through the layers, cut, normalized."""
    for layer in dense:
        pooled = layer(pooled)
    vectors = pooled[:, : form.width]
    if form.normalize:
        lengths = mx.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
        vectors = vectors / mx.maximum(lengths, _SMALLEST)
    return vectors


def _damaged(what: str, layer: DenseLayer) -> Exception:
    name = f"{layer.folder.name}/model.safetensors"
    return failed(
        "embedding_settings", f"{name} {what}; copy it again from the model's source", file=name
    )
