"""Decides which class of cache each layer of a model gets, and what can be done with the caches.

That depends on the classes and on the `Verdict` of a check of the model itself (`model_check`),
because classes promise what models do not keep: Jamba's layers take padding into their state, and
Apple's afm7 rotates all rows by the positions of the first.

mlx-lm ignores `max_kv_size` for every model that defines `make_cache`, so the window is built here,
with ``keep=0``: batched rotating caches drop the kept head (docs/engine-notes.md §11).
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import KVCache, QuantizedKVCache, RotatingKVCache

from mlxwire_protocol import invalid_params

from ...engine import DEFAULT_KV_GROUP_SIZE
from . import trimming
from .kv import Layers, own_caches
from .verdict import CAREFUL, Verdict


def can_rotate(model: Any) -> bool:
    """Return True if every layer of a model can forget the oldest tokens past a window."""
    return all(
        type(layer) is KVCache or isinstance(layer, RotatingKVCache)
        for layer in own_caches(model)
    )


class CachePolicy:
    """Creates the caches of one model: plain, with a rotating window, or quantized.

    ``window`` and ``kv_group_size`` are in tokens and in numbers per group. ``fingerprint`` is
    equal for policies whose caches are interchangeable. ``verdict`` is that of the check of the
    model; before it, sequences run alone and caches are not cut.

    Raises: WireError ``invalid_params`` for ``context_policy``, ``kv_bits`` or
    ``kv_group_size``.
    """

    def __init__(
        self,
        model: Any,
        *,
        window: int | None = None,
        kv_bits: int | None = None,
        kv_group_size: int = DEFAULT_KV_GROUP_SIZE,
    ) -> None:
        self._model = model
        self._window = window
        self._kv_bits = kv_bits
        self._kv_group_size = kv_group_size
        layers = self.make()
        if kv_bits is not None:
            self._check_quantization()
        self._mergeable = all(hasattr(layer, "merge") for layer in layers)
        self._keeps_all = all(map(trimming.keeps_all, layers))
        self.verdict: Verdict = CAREFUL
        self.fingerprint = f"{[type(layer).__name__ for layer in layers]}/{window}/{kv_bits}/{kv_group_size if kv_bits else 0}"

    @property
    def batchable(self) -> bool:
        """Return True if sequences can be computed together, whatever their caches hold."""
        return self._mergeable and self.verdict.together

    @property
    def pads(self) -> bool:
        """Return True if prompts of unlike length can be prefilled together."""
        return self.batchable and self.verdict.padded

    @property
    def cuts(self) -> bool:
        """Return True if caches can be cut as long as their state allows it (`trimming`)."""
        return self.verdict.cut

    @property
    def trimmable(self) -> bool:
        """Return True if the last tokens of a cache can always be cut off."""
        return self._keeps_all and self.cuts

    @property
    def rotates(self) -> bool:
        """Return True if the caches forget the oldest tokens past the window."""
        return self._window is not None

    def make(self) -> Layers:
        """Create empty caches for one sequence.

        Raises: WireError ``invalid_params`` if a layer's class can't rotate or be quantized.
        """
        layers = own_caches(self._model)
        if self._window is not None:
            # max_kv_size is ignored by every model with a make_cache, Llama's among them.
            layers = [self._rotating(layer) for layer in layers]
        if self._kv_bits is not None:
            layers = [self._quantized(layer) for layer in layers]
        return layers

    def example(self) -> Layers:
        """Create caches that hold one token, lazily: only their shapes and dtypes are known."""
        layers = self.make()
        self._model(mx.zeros((1, 1), dtype=mx.int32), cache=layers)
        return layers

    def _rotating(self, layer: Any) -> Any:
        if type(layer) is KVCache:
            assert self._window is not None
            # keep=0: a batched rotating cache keeps no head, and both must give the same text.
            return RotatingKVCache(max_size=self._window, keep=0)
        if isinstance(layer, RotatingKVCache):
            return layer
        raise invalid_params(
            "context_policy",
            f"`context_policy` is `rotate`, but this model's {type(layer).__name__} can't rotate; "
            "load the model with `refuse`",
        )

    def _check_quantization(self) -> None:
        """Run one lazy step: only MLX knows which head widths the group size divides.

        An attention of the architecture's own may not take quantized keys at all.

        Raises: WireError ``invalid_params`` for ``kv_group_size`` or ``kv_bits``.
        """
        try:
            self.example()
        except ValueError:
            raise invalid_params(
                "kv_group_size",
                f"`kv_group_size` is {self._kv_group_size}, but the width of this model's "
                "attention heads is not divisible by it; send a smaller `kv_group_size`, or leave "
                "`kv_bits` out",
            ) from None
        except (TypeError, AttributeError):
            raise invalid_params(
                "kv_bits",
                "`kv_bits` is given, but this architecture computes attention by itself and can't "
                "read quantized keys; leave `kv_bits` out",
            ) from None

    def _quantized(self, layer: Any) -> Any:
        if type(layer) is not KVCache:
            raise invalid_params(
                "kv_bits",
                f"`kv_bits` is given, but this model's {type(layer).__name__} can't be quantized; "
                "leave `kv_bits` out",
            )
        assert self._kv_bits is not None
        return QuantizedKVCache(group_size=self._kv_group_size, bits=self._kv_bits)
