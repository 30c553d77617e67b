"""The part of the engine that predicts memory. Its methods start a program of their own."""

from __future__ import annotations

import sys
from typing import Any

from msgspec import structs

from mlxwire_protocol.results import ModelInfo

from ...folders import Fit, FitOptions
from ...requests.failures import no_model
from ..keeping import KeepingEngine


class FittingEngine(KeepingEngine):
    """Predicts the memory of the loaded model, or of one on disk, while the engine computes."""

    def fit(self, options: FitOptions) -> Fit:
        """Predict the memory that a model needs. Raises: WireError, as `load` does."""
        from .asking import ask

        adapter = None
        if options.path is None:
            if self.model is None:
                raise no_model()
            policy = getattr(self._loaded, "policy", None)  # an encoder has none
            group = policy.kv_group_size if policy is not None else None
            options, adapter = as_loaded(options, self.model, group), self.model.adapter_path
        else:
            options = structs.replace(options, path=str(self._paths.model(options.path)))
        return ask({"options": options, "adapter": adapter, "held_bytes": _held_bytes()})


def as_loaded(options: FitOptions, model: ModelInfo, kv_group_size: int | None) -> FitOptions:
    """Fill in the loaded model's path, and its own value for each option that is left out."""
    kept: dict[str, Any] = {"path": model.path}
    if options.context_len is None:
        kept["context_len"] = model.context_len
    if options.kv_bits is None and kv_group_size is not None:
        kept["kv_bits"] = model.capabilities["kv_bits"]
        kept["kv_group_size"] = kv_group_size
    if options.compute_dtype == "auto":
        packed = model.quant_bits and model.weight_bytes < 2 * model.parameters
        kept["compute_dtype"] = "stored" if packed else model.compute_dtype
    return structs.replace(options, **kept)


def _held_bytes() -> int:
    """Return the bytes that MLX holds, if it has been imported."""
    mlx = sys.modules.get("mlx.core")
    return mlx.get_active_memory() if mlx is not None else 0
