"""Gives MLX a fast matrix product on a Linux CPU: an OpenBLAS in place of the reference BLAS.

Replaces the BLAS of the `mlx-cpu` wheel (mlx 0.32.4), which is the reference implementation: about
4 GFLOP/s, where OpenBLAS reaches 100 on the same core (docs/engine-notes.md §18).

Theory of operation. MLX's library takes three functions from BLAS: `cblas_sgemm`, `cblas_dgemm` and
`cblas_cgemm`. The dynamic linker looks for them first in libraries that were opened with
RTLD_GLOBAL. `use_fast_blas` opens one before MLX is imported for the first time; no file of MLX is
changed.

Order of events: `candidates` lists the libraries that may be there; `shim` gives one whose names have
a prefix the names that MLX asks for; `probe` computes products with it in a child process, because
a broken library may crash; `verdicts` keeps the outcome in the user's cache folder, so only the
first start pays; `use` opens the first library that passed. `threads` sets how many threads it may
use, which `sequences.warmup` chooses by measuring.
"""

from .threads import most_threads
from .use import InUse, in_use, use_fast_blas

__all__ = ["InUse", "in_use", "most_threads", "use_fast_blas"]
