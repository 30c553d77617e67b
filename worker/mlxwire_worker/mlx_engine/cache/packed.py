"""Caches that hold keys and values quantized, for one sequence and for a batch.

Quantized numbers are three arrays: codes, scales and biases. A cache here has three of mlx-lm's plain
caches, one for each; so a row is packed alone and in a batch alike, and joins, leaves and is cut alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, CacheList, KVCache


class Form(NamedTuple):
    """Describes quantized numbers: ``bits`` each, in groups of ``group_size`` along a head's width.

    ``read_packed``: attention computes with the packed numbers. If not, it gets them dequantized.
    """

    bits: int
    group_size: int
    read_packed: bool


class PackedKVCache:
    """The quantized keys and values of one sequence.

    It has ``bits`` if attention reads packed numbers: by this name mlx-lm's attention decides.
    """

    def __init__(self, form: Form, parts: Iterable[Any] | None = None) -> None:
        self.form = form
        self.parts: list[Any] = list(parts or (KVCache() for _ in range(3)))
        if form.read_packed:
            self.bits, self.group_size = form.bits, form.group_size

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Any, Any]:
        """Append keys and values [B, H, T, D]; return all that are held, as attention reads them."""
        packed = zip(self._packed(keys), self._packed(values), strict=True)
        held = [
            part.update_and_fetch(*pair) for part, pair in zip(self.parts, packed, strict=True)
        ]
        self.offset = self.offset  # the others have added to their own, which nobody evaluates
        return self._read(held)

    def keys_and_values(self) -> tuple[Any, Any]:
        """Return all keys and values that are held, as attention reads them."""
        return self._read([part.keys_and_values() for part in self.parts])

    @property
    def offset(self) -> Any:
        """The number of tokens: an int for one sequence, an array [B] for a batch."""
        return self.parts[0].offset

    @offset.setter
    def offset(self, offset: Any) -> None:
        for part in self.parts:
            part.offset = offset

    @property
    def keys(self) -> Any:
        """The keys' codes, by which models make arrays of their own depend on a cache, or None."""
        return self.parts[0].keys

    @keys.setter
    def keys(self, keys: mx.array) -> None:
        self.parts[0].keys = keys

    @property
    def values(self) -> Any:
        """The values' codes, or None."""
        return self.parts[0].values

    @values.setter
    def values(self, values: mx.array) -> None:
        self.parts[0].values = values

    @property
    def state(self) -> list[Any]:
        """The parts' states, to be evaluated."""
        return [part.state for part in self.parts]

    @property
    def nbytes(self) -> int:
        """The bytes that the packed numbers take."""
        return sum(part.nbytes for part in self.parts)

    def size(self) -> int:
        """Return the number of tokens of the longest row."""
        size: int = self.parts[0].size()
        return size

    def empty(self) -> bool:
        """Return True if no token was ever appended."""
        return self.keys is None

    def is_trimmable(self) -> bool:
        """Return True: the last tokens can be cut off."""
        return True

    def trim(self, n: int) -> int:
        """Cut the last ``n`` tokens off; return how many there were to cut."""
        cut: list[int] = [part.trim(n) for part in self.parts]
        return cut[0]

    def make_mask(self, *args: Any, **kwargs: Any) -> Any:
        """Return the mask for the next tokens, as mlx-lm's plain caches make it."""
        return self.parts[0].make_mask(*args, **kwargs)

    @classmethod
    def merge(cls, caches: list[PackedKVCache]) -> BatchPackedKVCache:
        """Merge the caches of several sequences into one batch, in this order."""
        columns = zip(*(cache.parts for cache in caches), strict=True)
        return BatchPackedKVCache(
            caches[0].form, (BatchKVCache.merge(list(column)) for column in columns)
        )

    def _packed(self, numbers: mx.array) -> tuple[mx.array, ...]:
        packed: Any = mx.quantize(numbers, group_size=self.form.group_size, bits=self.form.bits)
        return tuple(packed)

    def _read(self, held: list[tuple[mx.array, mx.array]]) -> tuple[Any, Any]:
        keys, values = zip(*held, strict=True)
        if self.form.read_packed:
            return keys, values
        return self._unpacked(keys), self._unpacked(values)

    def _unpacked(self, packed: tuple[mx.array, ...]) -> mx.array:
        codes, scales, biases = packed
        return mx.dequantize(
            codes, scales, biases, group_size=self.form.group_size, bits=self.form.bits
        )


class BatchPackedKVCache(PackedKVCache):
    """The quantized keys and values of a batch: a `BatchKVCache` for each part."""

    def prepare(self, **padding: Any) -> None:
        """Announce rows that are padded on the right (`BatchKVCache.prepare`)."""
        for part in self.parts:
            part.prepare(**padding)

    def finalize(self) -> None:
        """Move the padding of the rows since `prepare` to their left."""
        for part in self.parts:
            part.finalize()

    def filter(self, kept: Any) -> None:
        """Keep the rows at the places ``kept``, in place."""
        for part in self.parts:
            part.filter(kept)

    def extend(self, other: BatchPackedKVCache) -> None:
        """Append the rows of another batch, in place."""
        for part, more in zip(self.parts, other.parts, strict=True):
            part.extend(more)

    def extract(self, row: int) -> PackedKVCache:
        """Copy one row into a cache of one sequence."""
        return PackedKVCache(self.form, (part.extract(row) for part in self.parts))


def packs(layers: Iterable[Any]) -> bool:
    """Return True if a cache rounds its numbers: a GPU's last bits decide between two codes."""
    return any(
        packs(layer.caches) if type(layer) is CacheList else type(layer) is PackedKVCache
        for layer in layers
    )
