"""Tells how much memory a model may take: the system's, the device's, and the host's limit."""

from __future__ import annotations

import os

import mlx.core as mx

from ...process.system_share import MODEL_SHARE, memory_bytes


def available_bytes(memory_limit: int | None, held: int) -> int:
    """Return the bytes that a model with its caches may take.

    ``held`` are the bytes of a model that goes when the next one is read. ``memory_limit`` None and
    0 mean no limit of the host's.
    """
    free = _device_memory() if mx.default_device() != mx.cpu else memory_bytes()
    if free is None:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    own = round(MODEL_SHARE * (free + held))
    return min(own, memory_limit or own)


def _device_memory() -> int | None:
    """Return the bytes that are free on the device, or those that it has; None if not known."""
    figures = mx.device_info()
    names = ("free_memory", "max_recommended_working_set_size", "total_memory", "memory_size")
    known = (figures.get(name) for name in names)
    return next((int(size) for size in known if isinstance(size, int) and size > 0), None)
