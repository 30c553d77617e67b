"""Freed blocks are reused without a mapping of their own, and their pages go back in time."""

from __future__ import annotations

import platform
import subprocess
import sys

import mlx.core as mx
import pytest

from support.tiny_model import TINY

CHILD = """
import ctypes, resource, sys
from mlxwire_worker.engine import LoadOptions
from mlxwire_worker.mlx_engine import MlxEngine
from mlxwire_worker.mlx_engine.mlx_patches.allocator import give_free_memory_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
engine = MlxEngine()
engine.load(LoadOptions(path=sys.argv[1], warmup=False), lambda *_: None)
engine.close()

def fill(count):
    blocks = [libc.malloc(1 << 20) for _ in range(count)]
    for block in blocks:
        libc.memset(block, 1, 1 << 20)
    return blocks

give_free_memory_back(now=True)
empty = resident()
blocks = fill(200)
for block in blocks[:-1]:  # the last one holds the end of the heap
    libc.free(block)
freed = resident()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
again = fill(100)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for block in again:
    libc.free(block)
give_free_memory_back()  # too early
early = resident()
give_free_memory_back(now=True)
print(empty, freed, faults, early, resident())
"""


@pytest.mark.skipif(
    sys.platform != "linux"
    or platform.libc_ver()[0] != "glibc"
    or mx.default_device() != mx.cpu,
    reason="MLX takes its buffers from glibc's malloc on Linux's CPU alone",
)
def test_freed_blocks_are_reused_without_faults_and_their_pages_go_back() -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(TINY)], capture_output=True, text=True, timeout=60
    )

    assert child.returncode == 0, child.stderr
    empty, freed, faults, early, returned = map(int, child.stdout.split())
    assert freed > empty + 190
    assert faults < 1000  # 100 MiB that were new would be 25,600
    assert early > empty + 190
    assert returned < empty + 20
