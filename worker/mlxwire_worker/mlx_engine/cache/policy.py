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
from mlx_lm.models.cache import KVCache, RotatingKVCache

from mlxwire_protocol import invalid_params

from ...engine import DEFAULT_KV_GROUP_SIZE
from . import trimming
from .kv import Layers, own_caches
from .packing import Packing
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
    equal for policies whose caches are interchangeable. ``mergeable`` tells that all caches have a
    batched class. ``verdict`` is that of the check of the model; before it, sequences run alone and
    caches are not cut.

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
        self._packing: Packing | None = None
        if kv_bits is not None:
            if window is not None:
                raise invalid_params(
                    "kv_bits",
                    "`kv_bits` is given, and `context_policy` is `rotate`, but rotating caches can't "
                    "be quantized; leave `kv_bits` out, or load the model with `refuse`",
                )
            self._packing = Packing(
                model, lambda: own_caches(model), bits=kv_bits, group_size=kv_group_size
            )
        layers = self.make()
        self.mergeable = all(hasattr(layer, "merge") for layer in layers)
        self._reach = trimming.reach(layers)
        self.verdict: Verdict = CAREFUL
        self.fingerprint = f"{[type(layer).__name__ for layer in layers]}/{window}/{kv_bits}/{kv_group_size if kv_bits else 0}"

    @property
    def batchable(self) -> bool:
        """Return True if sequences can be computed together, whatever their caches hold."""
        return self.mergeable and self.verdict.together

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
        return self._reach is None and self.cuts

    def cuts_all_of(self, tokens: int) -> bool:
        """Return True if caches that hold ``tokens`` can be cut to any length."""
        return self.cuts and (self._reach is None or tokens < self._reach)

    @property
    def rotates(self) -> bool:
        """Return True if the caches forget the oldest tokens past the window."""
        return self._window is not None

    def with_window(self, window: int) -> CachePolicy:
        """Return a policy with plain caches that differs in the window alone, in tokens."""
        return CachePolicy(self._model, window=window)

    @property
    def kv_group_size(self) -> int | None:
        """Return how many quantized numbers share a scale; None for plain caches."""
        return None if self._packing is None else self._packing.form.group_size

    @property
    def dequantizes(self) -> bool:
        """Return True if the model's attention can't compute with quantized numbers as they are."""
        return self._packing is not None and not self._packing.form.read_packed

    def make(self) -> Layers:
        """Create empty caches for one sequence.

        Raises: WireError ``invalid_params`` if a layer's class can't rotate.
        """
        layers = self.make_unbounded()
        if self._window is not None:
            # max_kv_size is ignored by every model with a make_cache, Llama's among them.
            layers = [self._rotating(layer) for layer in layers]
        return layers

    def make_unbounded(self) -> Layers:
        """Create empty caches for one sequence, without the window: those of the check."""
        layers = own_caches(self._model)
        return layers if self._packing is None else self._packing.pack(layers)

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
