"""Large blocks of the allocator's go back to the system, whatever was freed before."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

TINY = Path(__file__).parents[4] / "testdata/tiny"
CHILD = """
import ctypes, sys
from mlxwire_protocol.messages import Load
from mlxwire_worker.mlx_engine import MlxEngine

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()

class Figures(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]  # struct mallinfo2

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.mallinfo2.restype = Figures
engine = MlxEngine()
engine.load(Load(id="l", path=sys.argv[1], warmup=False), lambda *_: None)
engine.close()
# glibc's own rule: from now on whatever is smaller than this comes from the heap.
libc.free(libc.malloc(16 << 20))
before = libc.mallinfo2().hblks
blocks = [libc.malloc(1 << 20) for _ in range(64)]
print(libc.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(
    sys.platform != "linux"
    or platform.libc_ver()[0] != "glibc"
    or mx.default_device() != mx.cpu,
    reason="MLX takes its buffers from glibc's malloc on Linux's CPU alone",
)
def test_a_large_block_has_its_own_mapping_though_a_larger_one_was_freed() -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(TINY)], capture_output=True, text=True, timeout=60
    )

    assert child.returncode == 0, child.stderr
    assert int(child.stdout) > 60
