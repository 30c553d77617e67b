"""Makes glibc's malloc fast for a CPU worker's buffers, and returns its free memory to the system.

Replaces nothing in MLX itself, but the settings of the allocator below its CPU backend (seen with
mlx 0.32.4).

Theory of operation. MLX takes its CPU buffers from `malloc`, and keeps none for reuse. By glibc's own
rules a block above a threshold gets a mapping of its own, and each of its pages faults again: a
step of 64 streams spent 10 of 30 ms of processor time on that. Below the threshold the caches of
sequences that come and go leave holes in the heap, which grows. So the threshold is set to the
highest that glibc takes, the heap keeps what is freed at its end, and `give_free_memory_back` returns
the pages of all holes from time to time.
"""

from __future__ import annotations

import ctypes
import sys
import time
from typing import Any

import mlx.core as mx

MAPPED_BYTES = 32 << 20
"""Blocks of this size and more get their own mapping; glibc takes no higher threshold."""
KEPT_BYTES = 512 << 20
"""Free bytes at the end of the heap that are kept until `give_free_memory_back`."""
TRIM_SECONDS = 1.0
"""The least time between two returns of free memory, which take milliseconds."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_trim: Any = None
"""glibc's `malloc_trim`, once `hold_freed_blocks` has changed its rules."""
_trimmed_at = 0.0


def hold_freed_blocks() -> None:
    """Set the thresholds for this process, if MLX computes on the CPU and malloc is glibc's."""
    global _trim
    if sys.platform != "linux" or mx.default_device() != mx.cpu:
        return
    libc = ctypes.CDLL(None)
    mallopt, trim = getattr(libc, "mallopt", None), getattr(libc, "malloc_trim", None)
    if mallopt is None or trim is None:  # musl has neither
        return
    mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    _trim = trim


def give_free_memory_back(*, now: bool = False) -> None:
    """Return the free pages of the heap to the system, at most once in `TRIM_SECONDS`.

    ``now`` returns them in any case.
    """
    global _trimmed_at
    if _trim is None or not (now or time.monotonic() - _trimmed_at > TRIM_SECONDS):
        return
    _trim(ctypes.c_size_t(0))
    _trimmed_at = time.monotonic()
