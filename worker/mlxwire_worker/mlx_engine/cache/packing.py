"""Finds out which caches of a model can be quantized, and how its attention reads them.

The caches that grow with a sequence (`KVCache`) are quantized. Windows and recurrent states have a fixed
size and stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import CacheList, KVCache

from mlxwire_protocol import WireError, invalid_params

from ..mlx_patches.quantized_attention import (
    quantized_attention,
    replace_quantized_attention,
)
from .kv import Layers, each_cache
from .packed import Form, PackedKVCache

GROUP_SIZES = (32, 64, 128)

Plan = list[Any]
"""For each cache of a model True if it is to be quantized; for a `CacheList`, the plan of its own."""


class Packing:
    """Replaces a model's caches by quantized ones, wherever that can be.

    ``make`` creates the model's own caches. Raises: WireError ``invalid_params`` for ``kv_bits`` or
    ``kv_group_size``.
    """

    def __init__(
        self, model: Any, make: Callable[[], Layers], *, bits: int, group_size: int
    ) -> None:
        probe = make()
        # Nothing is evaluated here: the shapes of lazy arrays are known.
        model(mx.zeros((1, 1), dtype=mx.int32), cache=probe)
        widths = {width for layer in each_cache(probe) for width in _widths(layer)}
        if not widths:
            raise _nothing_to_pack(probe)
        if any(width % group_size for width in widths):
            raise _misfit(group_size, widths)
        self._plan = _plan(probe)
        replace_quantized_attention()
        dtypes = {layer.keys.dtype for layer in each_cache(probe) if _widths(layer)}
        for read_packed in (True, False):
            self.form = Form(bits, group_size, read_packed)
            try:
                self._try(model, make)
                if read_packed:
                    _compute(self.form, widths, dtypes)
            except (TypeError, AttributeError, ValueError, RuntimeError):
                continue
            return
        raise invalid_params(
            "kv_bits",
            "`kv_bits` is given, but this architecture handles its keys and values in a way of its "
            "own that quantized ones do not fit; leave `kv_bits` out",
        )

    def pack(self, layers: Layers) -> Layers:
        """Replace empty caches, all of the model or its first ones, by quantized ones."""
        return _packed(layers, self._plan, self.form)

    def _try(self, model: Any, make: Callable[[], Layers]) -> None:
        """Send tokens through the model, lazily: several at once, then one; both have paths."""
        layers = self.pack(make())
        for tokens in (2, 1):
            model(mx.zeros((1, tokens), dtype=mx.int32), cache=layers)


def _compute(form: Form, widths: set[int], dtypes: set[mx.Dtype]) -> None:
    """Compute attention over quantized numbers once: MLX's kernels for CUDA take some shapes only."""
    for width, dtype, (rows, tokens) in product(widths, dtypes, ((1, 1), (2, 3))):
        numbers = mx.zeros((rows, 2, tokens, width), dtype)
        keys, values = PackedKVCache(form).update_and_fetch(numbers, numbers)
        queries = mx.zeros((rows, 4, tokens, width), dtype)
        mx.eval(
            quantized_attention(queries, keys, values, 1.0, None, form.group_size, form.bits)
        )


def _packed(layers: Iterable[Any], plan: Plan, form: Form) -> Layers:
    # Not strict: the check of a model takes layers away.
    pairs = zip(layers, plan, strict=False)
    return [
        CacheList(*_packed(layer.caches, chosen, form))
        if isinstance(chosen, list)
        else PackedKVCache(form)
        if chosen
        else layer
        for layer, chosen in pairs
    ]


def _plan(layers: Iterable[Any]) -> Plan:
    return [
        _plan(layer.caches) if type(layer) is CacheList else bool(_widths(layer))
        for layer in layers
    ]


def _widths(layer: Any) -> tuple[int, ...]:
    """Return the widths of the keys and values of a cache that can be quantized, else none.

    Some models keep an index in a `KVCache`, without values.
    """
    if type(layer) is not KVCache or layer.keys is None or layer.values is None:
        return ()
    widths = (layer.keys.shape[-1], layer.values.shape[-1])
    return widths if all(widths) else ()


def _nothing_to_pack(layers: Layers) -> WireError:
    kinds = sorted({type(layer).__name__ for layer in each_cache(layers)})
    return invalid_params(
        "kv_bits",
        f"`kv_bits` is given, but no cache of this model can be quantized ({', '.join(kinds)}); "
        "leave `kv_bits` out",
    )


def _misfit(group_size: int, widths: set[int]) -> WireError:
    told = " and ".join(str(width) for width in sorted(widths))
    fitting = [str(size) for size in GROUP_SIZES if not any(w % size for w in widths)]
    remedy = f"send {' or '.join(fitting)}, or leave" if fitting else "leave"
    return invalid_params(
        "kv_group_size",
        f"`kv_group_size` is {group_size}, but it must divide the widths of this model's keys and "
        f"values, {told}; {remedy} `kv_bits` out",
    )
