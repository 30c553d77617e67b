"""Builds a small library that offers a prefixed BLAS under the three names that MLX asks for.

The build needs g++, as MLX does to compile its CPU kernels, and takes 0.1 s, once for each library.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .candidates import Candidate

SECONDS = 30.0
"""How long the compiler may take."""
_TEMPLATE = """
#define GEMM(letter, number, scalar) \\
  extern "C" void PREFIX##cblas_##letter##gemm(int, int, int, int, int, int, scalar, \\
    const number *, int, const number *, int, scalar, number *, int); \\
  extern "C" void cblas_##letter##gemm(int order, int transpose_a, int transpose_b, \\
    int m, int n, int k, scalar alpha, const number *a, int lda, const number *b, int ldb, \\
    scalar beta, number *c, int ldc) { \\
    PREFIX##cblas_##letter##gemm(order, transpose_a, transpose_b, m, n, k, alpha, \\
      a, lda, b, ldb, beta, c, ldc); \\
  }
GEMM(s, float, float)
GEMM(d, double, double)
GEMM(c, void, const void *)
"""


class ShimFailed(Exception):
    """The shim can't be built; the message tells why and what to do."""


def build_shim(candidate: Candidate, target: Path) -> None:
    """Compile the shim of a library to a file. Raises: ShimFailed."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise ShimFailed("this library needs g++, which is not on the PATH: install g++")
    source = _TEMPLATE.replace("PREFIX", candidate.prefix)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    options = ["-x", "c++", "-", "-O2", "-shared", "-fPIC", "-o", str(partial)]
    folder = candidate.library.parent
    linked = [
        "-x",
        "none",
        str(candidate.library),
        "-Xlinker",
        "-rpath",
        "-Xlinker",
        str(folder),
    ]
    try:
        subprocess.run(
            [compiler, *options, *linked],
            input=source.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=True,
        )
        partial.replace(target)
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise ShimFailed(f"g++ can't link it ({last[:200]}): install it anew") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ShimFailed(f"g++ can't build its shim ({error}): check g++") from None
    finally:
        partial.unlink(missing_ok=True)
