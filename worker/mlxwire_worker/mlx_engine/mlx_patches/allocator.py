"""Makes glibc's malloc return large blocks to the system, so that a CPU worker does not grow.

Replaces nothing in MLX itself, but the setting of the allocator below its CPU backend (seen with
mlx 0.32.4). MLX takes its CPU buffers from `malloc`. glibc maps a block on its own above a
threshold, which rises to the largest block freed so far, at most 32 MB. Below it, the caches of
sequences that come and go leave holes in the heap: 255 MB for 80 MB in use after 1,500 requests
of mixed lengths, and growing. With a fixed threshold the heap stays at 130 MB.
"""

from __future__ import annotations

import ctypes
import sys

import mlx.core as mx

MAPPED_BYTES = 128 * 1024
"""Blocks of this size and more get their own mapping, which `free` returns to the system.

glibc starts with the same value.
"""
_M_MMAP_THRESHOLD = -3


def give_large_blocks_back() -> None:
    """Fix the threshold for this process, if MLX computes on the CPU and malloc is glibc's."""
    if sys.platform != "linux" or mx.default_device() != mx.cpu:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has no mallopt
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
