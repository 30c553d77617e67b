"""Large blocks of the allocator's go back to the system, whatever was freed before."""

from __future__ import annotations

import ctypes
import platform
import sys

import mlx.core as mx
import pytest

from .conftest import Open

BLOCK_BYTES = 1 << 20

pytestmark = pytest.mark.skipif(
    sys.platform != "linux"
    or platform.libc_ver()[0] != "glibc"
    or mx.default_device() != mx.cpu,
    reason="MLX takes its buffers from glibc's malloc on Linux's CPU alone",
)


class _Figures(ctypes.Structure):
    """``struct mallinfo2``: ``hblks`` are the blocks with a mapping of their own."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def test_a_large_block_has_its_own_mapping_though_a_larger_one_was_freed(
    open_model: Open,
) -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.mallinfo2.restype = _Figures
    open_model("llama3")

    # glibc's own rule: from now on whatever is smaller than this comes from the heap.
    libc.free(libc.malloc(16 * BLOCK_BYTES))
    before = libc.mallinfo2().hblks
    blocks = [libc.malloc(BLOCK_BYTES) for _ in range(64)]
    mapped = libc.mallinfo2().hblks - before
    for block in blocks:
        libc.free(block)

    assert mapped > 32  # other threads may free some of theirs meanwhile
