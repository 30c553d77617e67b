"""The architectures of mlx-lm that a load refuses as `unsupported_model`, with the reason."""

from __future__ import annotations

import mlx.core as mx

BEFORE_WEIGHTS = {
    "olmo": "needs the Python package ai2-olmo",
    "phi3small": "mlx-lm lets the tokens of a prompt see those after them",
}
"""Those whose weights a load does not even look at."""
_EVERYWHERE = {
    **BEFORE_WEIGHTS,
    "glm": "mlx-lm rotates whole heads, and published models rotate half of each",
}
_WITHOUT_METAL = {
    "bitnet": "its ternary layers are a Metal kernel",
    "muse_spark": "the norm and RoPE of its queries and keys are a Metal kernel",
}


def refused() -> dict[str, str]:
    """Return each architecture that is refused on this device, and why."""
    without = {} if mx.metal.is_available() else _WITHOUT_METAL
    return {**_EVERYWHERE, **without}


def refused_somewhere() -> dict[str, str]:
    """Return each architecture that is refused on some device, where, and why."""
    without = {name: f"without Metal: {why}" for name, why in _WITHOUT_METAL.items()}
    return {**_EVERYWHERE, **without}


NOT_BUILT = {
    "prism_hadamard_qwen35": "its weights are packed in 2 bits, and the zoo's are float32",
}
"""Architectures of mlx-lm that load, and that no animal of the zoo has."""
