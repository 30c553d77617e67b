"""The encoders of the BERT family: BERT, RoBERTa, XLM-RoBERTa, DistilBERT, MPNet, ELECTRA.

After "BERT" (Devlin et al., 2018) and the modules of transformers, with one tree for all: embeddings
of words, positions and types, then layers that attend in both directions, each with its norm behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.models.base import scaled_dot_product_attention

from .families import EncoderShape
from .gelu import gelu

MOST_SCORES, LEAST_QUERIES = 1 << 18, 32
"""The attention scores, and queries, of a part on a CPU: what stays in a processor's cache.

Four texts of 512 tokens took a quarter of the time of one part, and a tenth of the memory.
"""
_FARTHEST = 128
"""The distance of tokens from which MPNet's attention tells no more distances apart."""


def activation(name: str) -> Callable[[mx.array], mx.array]:
    """Return an activation by its name in `families.ACTIVATIONS`."""
    functions: dict[str, Callable[[mx.array], mx.array]] = {
        "gelu": gelu,
        "gelu_tanh": nn.gelu_approx,
        "silu": nn.silu,
        "relu": nn.relu,
        "tanh": mx.tanh,
    }
    return functions[name]


class Layer(nn.Module):  # type: ignore[misc]
    """One layer: attention, then two linear layers, each added to its input and normalized."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.scale = (width // shape.heads) ** -0.5
        self.activate = activation(shape.activation)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=shape.eps)
        self.up = nn.Linear(width, shape.inner)
        self.down = nn.Linear(shape.inner, width)
        self.norm = nn.LayerNorm(width, eps=shape.eps)

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        """Return the layer's output [B, T, D] for [B, T, D]; ``mask`` is as in `attend`."""
        queries, keys, values = (self._split(f(x)) for f in (self.query, self.key, self.value))
        mixed = attend(queries, keys, values, self.scale, mask)
        x = self.attention_norm(x + self.output(mixed.swapaxes(1, 2).flatten(-2)))
        normed: mx.array = self.norm(x + self.down(self.activate(self.up(x))))
        return normed

    def _split(self, x: mx.array) -> mx.array:
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)


class Head(nn.Module):  # type: ignore[misc]
    """A classification head on the first token: a dense layer, an activation, the labels."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.activate = activation(shape.family.head[2])
        self.dense = nn.Linear(shape.width, shape.width)
        self.last = nn.Linear(shape.width, shape.labels)

    def __call__(self, first: mx.array) -> mx.array:
        """Return the logits [B, labels] of first tokens [B, D]."""
        logits: mx.array = self.last(self.activate(self.dense(first)))
        return logits


class Encoder(nn.Module):  # type: ignore[misc]
    """An encoder; ``head`` is present if the shape has labels."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.vocabulary, shape.embedded)
        self.positions = nn.Embedding(shape.positions + shape.offset, shape.embedded)
        if shape.types:
            self.types = nn.Embedding(shape.types, shape.embedded)
        self.norm = nn.LayerNorm(shape.embedded, eps=shape.eps)
        if shape.embedded != shape.width:
            self.projection = nn.Linear(shape.embedded, shape.width)
        if shape.buckets:
            self.relative = nn.Embedding(shape.buckets, shape.heads)
        self.layers = [Layer(shape) for _ in range(shape.layers)]
        if shape.labels:
            self.head = Head(shape)

    def states(
        self, ids: mx.array, types: mx.array | None, lengths: list[int]
    ) -> Iterator[mx.array]:
        """Yield the hidden states [B, T, D] after the embeddings and after each layer.

        ``ids`` [B, T] are padded behind their ``lengths``; ``types`` are of their shape, None for
        the first type alone.
        """
        x = self._embedded(ids, types)
        yield x
        mask = self._mask(x, ids.shape[1], lengths)
        for layer in self.layers:
            x = layer(x, mask)
            yield x

    def _embedded(self, ids: mx.array, types: mx.array | None) -> mx.array:
        shape = self.shape
        x: mx.array = self.words(ids) + self.positions(self._places(ids))
        if shape.types:
            kinds = mx.zeros_like(ids) if types is None or shape.types == 1 else types
            x = x + self.types(kinds)
        x = self.norm(x)
        if shape.embedded != shape.width:
            x = self.projection(x)
        return x

    def _places(self, ids: mx.array) -> mx.array:
        """Return the position of each token. RoBERTa's are those among the tokens but padding."""
        places: mx.array = mx.arange(ids.shape[1])[None]
        if self.shape.offset:
            told: mx.array = (ids != self.shape.padding).astype(mx.int32)
            places = mx.cumsum(told, axis=1) * told + self.shape.offset - 1
        return places

    def _mask(self, x: mx.array, length: int, lengths: list[int]) -> mx.array | None:
        """Return a mask for `attend`: True, or a number to add, for each token that is seen."""
        seen = None
        if min(lengths) < length:
            seen = mx.arange(length)[None] < mx.array(lengths)[:, None]
            seen = seen[:, None, None]
        if not self.shape.buckets:
            return seen
        places = mx.arange(length)
        distances = bucket(places[None] - places[:, None], self.shape.buckets)
        added: mx.array = self.relative(distances).transpose(2, 0, 1)[None]
        if seen is not None:
            added = mx.where(seen, added, mx.finfo(x.dtype).min)
        return added


def attend(
    queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: mx.array | None
) -> mx.array:
    """Return attention [B, H, T, D] over all tokens; ``mask`` [B or 1, H or 1, T or 1, T] or None.

    On a CPU the queries of a long text come in parts: MLX holds all scores of a part there.
    """
    rows, heads, length, _ = queries.shape
    size = max(LEAST_QUERIES, MOST_SCORES // (rows * heads * length))
    if size >= length or mx.default_device() != mx.cpu:
        return _attended(queries, keys, values, scale, mask)
    parts = []
    for start in range(0, length, size):
        part = mask
        if mask is not None and mask.shape[2] > 1:
            part = mask[:, :, start : start + size]
        chosen = queries[:, :, start : start + size]
        parts.append(_attended(chosen, keys, values, scale, part))
    return mx.concatenate(parts, axis=2)


def _attended(
    queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: mx.array | None
) -> mx.array:
    # By its name in this module: `mlx_patches.exponentials` puts a faster one there on a CPU.
    mixed: Any = scaled_dot_product_attention(
        queries, keys, values, cache=None, scale=scale, mask=mask
    )
    attended: mx.array = mixed
    return attended


def bucket(distances: mx.array, buckets: int) -> mx.array:
    """Return the bucket of each distance between two tokens, as MPNet and T5 divide them."""
    half = buckets // 2
    exact = half // 2
    away = mx.abs(distances)
    share = mx.log(mx.maximum(away, 1).astype(mx.float32) / exact) / math.log(_FARTHEST / exact)
    far = mx.minimum(exact + (share * (half - exact)).astype(mx.int32), half - 1)
    near = mx.where(away < exact, away, far)
    return near + mx.where(distances > 0, half, 0)
