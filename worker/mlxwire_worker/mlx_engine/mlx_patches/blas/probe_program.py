"""The child process that tries a BLAS: `python probe_program.py LIBRARY PARENT`.

Opens the library, imports MLX, multiplies matrices with it and compares the products with sums that
MLX computes without BLAS. Prints one JSON object; a library that crashes ends only this process.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any

_PR_SET_PDEATHSIG = 1
TIMED = (16, 576, 1536)
"""The product whose speed is told: 16 rows by a layer of a small model."""


def main(library: str, parent: int) -> dict[str, Any]:
    """Try a library and describe it; ``error`` is None if its products are right."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the worker has gone before the line above
        sys.exit(1)
    try:
        opened = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return {"error": f"it can't be opened ({error})", "lasts": False}
    if not all(hasattr(opened, f"cblas_{letter}gemm") for letter in "sdc"):
        return {"error": "it is no BLAS: it has no cblas_sgemm, cblas_dgemm or cblas_cgemm"}
    import mlx.core as mx

    if mx.default_device() != mx.cpu:
        return {"error": "MLX does not compute on the CPU"}
    for dtype in (mx.float32, mx.float64, mx.complex64):
        for shape in ((1, 40, 24), (5, 7, 3), (33, 65, 129), (130, 70, 150)):
            if not _multiplies(mx, dtype, *shape):
                return {"error": "its matrix products are wrong"}
    return {"error": None, "name": _name(opened, library), "gflops": gflops(mx)}


def _name(opened: ctypes.CDLL, library: str) -> str:
    """Return an OpenBLAS's own name and version, or the file name of another BLAS."""
    for prefix in ("", "scipy_"):
        describe = getattr(opened, f"{prefix}openblas_get_config", None)
        if describe is not None:
            describe.restype = ctypes.c_char_p
            return " ".join(describe().decode("ascii", "replace").split()[:2])
    return os.path.basename(library)


def _multiplies(mx: Any, dtype: Any, rows: int, inner: int, columns: int) -> bool:
    """Return True if products of these sizes equal sums of products, transposed or not."""
    mx.random.seed(rows)
    a, b = mx.random.normal((2, rows, inner)), mx.random.normal((2, inner, columns))
    if dtype == mx.complex64:
        a, b = a + 1j * a[::-1], b - 1j * b[::-1]
    a, b = a.astype(dtype), b.astype(dtype)
    expected = (a[:, :, :, None] * b[:, None]).sum(axis=2)
    transposed_b = mx.contiguous(b.swapaxes(1, 2)).swapaxes(1, 2)
    transposed_a = mx.contiguous(a.swapaxes(1, 2)).swapaxes(1, 2)
    return all(
        float(mx.abs(product - expected).max()) < 1e-3
        for product in (a @ b, a @ transposed_b, transposed_a @ b)
    )


def gflops(mx: Any) -> float:
    """Return the speed of one float32 product, in 10^9 operations a second."""
    rows, inner, columns = TIMED
    a, b = mx.random.normal((rows, inner)), mx.random.normal((columns, inner))
    mx.eval(a, b)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        mx.eval(a @ b.T)
        best = min(best, time.perf_counter() - started)
    return round(2e-9 * rows * inner * columns / best, 1)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
