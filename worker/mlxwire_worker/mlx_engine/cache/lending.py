"""Lets the stored beginnings of a sequence share its keys and values, which hold theirs too.

A chat leaves an entry at the end of each message. Where the layers with recurrent states or sliding
windows keep a state of their own for each entry, those that keep every token would keep the first
tokens again in every entry: bytes that grow with the square of the chat.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache, KVCache, RotatingKVCache

from . import kv


def borrow(layers: kv.Layers, lender: kv.Layers) -> None:
    """Take the keys and values of a longer sequence that begins with the same tokens, in place."""
    for own, longer in zip(lent(layers), lent(lender), strict=True):
        own.keys, own.values = longer.keys, longer.values


def take_back(layers: kv.Layers) -> None:
    """Copy the own tokens out of borrowed keys and values, in place, so that these can be freed."""
    for own in lent(layers):
        own.keys = mx.contiguous(own.keys[..., : own.offset, :])
        own.values = mx.contiguous(own.values[..., : own.offset, :])
        mx.eval(own.keys, own.values)  # layer by layer, so that both are held for one only


def shares(layers: kv.Layers, lender: kv.Layers) -> bool:
    """Return True if caches have borrowed their keys and values from these others."""
    pairs = list(zip(lent(layers), lent(lender), strict=False))
    return bool(pairs) and all(own.keys is longer.keys for own, longer in pairs)


def strip(layers: kv.Layers) -> None:
    """Leave one token of the keys and values that may be borrowed, in place."""
    for own in lent(layers):
        own.keys, own.values = own.keys[..., :1, :], own.values[..., :1, :]


def state_bytes(layers: kv.Layers) -> int:
    """Return the bytes of caches without the keys and values that they may borrow."""
    borrowed: int = sum(own.nbytes for own in lent(layers))
    return kv.nbytes(layers) - borrowed


def compact(layers: kv.Layers) -> None:
    """Let recurrent states and sliding windows hold no more memory than they need, in place.

    A slice of a prompt leaves the window and the whole slice in the buffer, until the next token. A
    recurrent state is often a view of the slice's last tokens, or of one row of a batch, and keeps all
    of it from being freed.
    """
    for layer in kv.each_cache(layers):
        if kv.is_exactly(layer, ArraysCache):
            layer.cache = [None if one is None else mx.contiguous(one) for one in layer.cache]
        elif kv.is_exactly(layer, RotatingKVCache) and layer.keys is not None:
            _cut_to_window(layer)


def _cut_to_window(layer: Any) -> None:
    size = layer.max_size
    if layer.keep or not layer._idx == layer.keys.shape[2] > size:
        return
    layer.keys = mx.contiguous(layer.keys[..., -size:, :])
    layer.values = mx.contiguous(layer.values[..., -size:, :])
    layer._idx = size


def lent(layers: kv.Layers) -> Iterator[Any]:
    """Yield the caches whose arrays may hold more tokens than they, which count their own."""
    return (
        layer
        for layer in kv.each_cache(layers)
        if kv.is_exactly(layer, KVCache) and layer.keys is not None
    )
