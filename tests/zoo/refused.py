"""The architectures of mlx-lm that a load refuses as `unsupported_model`, with the reason."""

from __future__ import annotations

import mlx.core as mx

_ON_EVERY_DEVICE = {
    "olmo": "mlx-lm's module ends the process unless the package ai2-olmo is installed; use a "
    "conversion to `olmo2` or later",
}
_WITHOUT_METAL = {
    "bitnet": "its ternary layers are a Metal kernel",
    "muse_spark": "its routing is a Metal kernel",
}


def refused() -> dict[str, str]:
    """Return each architecture that is refused on this device, and why."""
    without = {} if mx.metal.is_available() else _WITHOUT_METAL
    return {**_ON_EVERY_DEVICE, **without}


def refused_somewhere() -> dict[str, str]:
    """Return each architecture that is refused on some device, where, and why."""
    without = {name: f"without Metal: {why}" for name, why in _WITHOUT_METAL.items()}
    return {**_ON_EVERY_DEVICE, **without}
