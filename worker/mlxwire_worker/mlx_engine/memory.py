"""Memory limits of MLX and of the loaded model, and the memory in use."""

from __future__ import annotations

import mlx.core as mx

from mlxwire_protocol import invalid_params

from ..engine import MemoryFigures, MemoryLimits, MemoryUse
from .loading import LoadedModel
from .mlx_patches.allocator import give_free_memory_back

_limits = {"buffer": 0, "wired": 0}
"""The limits that the host set, in bytes; MLX applies both to the whole process."""

_earlier = {"peak": 0}
"""The highest peak, in bytes, that `restart_peak` has reset since the model was loaded."""


def in_use() -> MemoryUse:
    """Return the bytes that MLX has in use now, and had in use at the peaks. Any thread."""
    active = mx.get_active_memory()
    recent = max(active, mx.get_peak_memory())
    return MemoryUse(active, max(recent, _earlier["peak"]), recent)


def restart_peak() -> int:
    """Return MLX's peak in bytes since the last call, and reset it."""
    use = in_use()
    _earlier["peak"] = use.peak_bytes
    mx.reset_peak_memory()
    return use.recent_peak_bytes


def forget_peaks() -> None:
    """Reset all peaks, for another model."""
    _earlier["peak"] = 0
    mx.reset_peak_memory()


def set_memory(
    limits: MemoryLimits, loaded: LoadedModel | None, *, clear: bool
) -> MemoryFigures:
    """Set the limits that are given, drop MLX's buffers if ``clear``, and describe the memory.

    Raises: WireError ``invalid_params`` for a limit that can't be set.
    """
    for name in ("memory_limit", "prompt_cache_limit"):
        if loaded is None and getattr(limits, name) is not None:
            raise invalid_params(
                name,
                f"`{name}` needs a loaded model; load one first, or give `{name}` to `load`",
            )
    if limits.wired_limit is not None:
        try:
            mx.set_wired_limit(limits.wired_limit)
        except ValueError as error:
            raise invalid_params(
                "wired_limit",
                f"MLX refuses the `wired_limit` {limits.wired_limit} on this device ({error}); "
                "give a smaller limit",
            ) from None
        _limits["wired"] = limits.wired_limit
    if limits.buffer_limit is not None:
        mx.set_cache_limit(limits.buffer_limit)
        _limits["buffer"] = limits.buffer_limit
    if loaded is not None:
        if limits.memory_limit is not None:
            loaded.guard.limit = limits.memory_limit
        if limits.prompt_cache_limit is not None:
            loaded.cache.tree.budget = limits.prompt_cache_limit
            loaded.cache.shrink(limits.prompt_cache_limit)
    if clear:
        mx.clear_cache()
        give_free_memory_back(now=True)
    return MemoryFigures(
        active_bytes=mx.get_active_memory(),
        peak_bytes=in_use().peak_bytes,
        buffer_bytes=mx.get_cache_memory(),
        sequence_bytes=loaded.runner.nbytes if loaded else 0,
        prompt_cache_bytes=loaded.cache.tree.nbytes if loaded else 0,
        memory_limit=loaded.guard.limit if loaded else 0,
        prompt_cache_limit=loaded.cache.tree.budget if loaded else 0,
        buffer_limit=_limits["buffer"],
        wired_limit=_limits["wired"],
        bytes_per_token=loaded.guard.bytes_per_token if loaded else 0,
    )
