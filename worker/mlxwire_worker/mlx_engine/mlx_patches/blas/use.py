"""Opens the first library that passes its probe, before MLX is imported."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ....process.kept_findings import keep_finding, read_finding
from ....process.private_folder import private_folder
from .candidates import VARIABLE, Candidate, candidates, switched_off
from .threads import ThreadControl, most_threads
from .verdicts import Verdict, key_of

_SHIM_VERSION = "1"
REMEDY = "run: pip install scipy-openblas32"


class InUse(NamedTuple):
    """The BLAS that MLX computes with.

    ``name`` and ``threads`` are None for MLX's own. Then ``slow`` tells why that is the slow one and
    what to do; None where MLX's own is not the reference BLAS, or MLX does not use it.
    """

    name: str | None = None
    threads: ThreadControl | None = None
    slow: str | None = None


_used: InUse | None = None
_choosing = threading.Lock()
"""The engine's thread opens the BLAS, or the one that reads folders, if a request comes first."""


def in_use() -> InUse:
    """Return the outcome of `use_fast_blas`; MLX's own BLAS before it was called."""
    return _used or InUse()


def use_fast_blas() -> InUse:
    """Open a fast BLAS for this process, if MLX's own is the reference one and computes.

    Must be called before MLX is imported. Later calls return the first one's outcome.
    """
    global _used
    with _choosing:
        if _used is None:
            _used = _choose()
        return _used


def _choose() -> InUse:
    mlx = _reference_build()
    if mlx is None:
        return InUse()
    if switched_off():
        return InUse(slow=f"{VARIABLE} is off")
    if "mlx.core" in sys.modules:
        return InUse(slow="MLX was imported before")
    folder, reasons = private_folder()
    if folder is None:
        told = "; ".join(reasons)
        return InUse(
            slow=f"no folder is private to this user ({told}); set XDG_CACHE_HOME to one"
        )
    refused: list[str] = []
    for candidate in candidates():
        verdict, opened = _try(candidate, mlx, folder)
        if verdict.error is None and opened is not None:
            return InUse(verdict.name, ThreadControl(opened, candidate.prefix))
        refused.append(f"{candidate.library}: {verdict.error}")
    return InUse(slow="; ".join(refused) or f"no OpenBLAS is installed; {REMEDY}")


def _reference_build() -> Path | None:
    """Return MLX's library if it comes with the reference BLAS; None for any other build.

    Only the `mlx-cpu` wheel does: it has the BLAS in a folder of its own. A build from source, or
    conda's, has the BLAS that its maker chose, and one for Metal or CUDA computes without.
    """
    if sys.platform != "linux":
        return None
    spec = find_spec("mlx")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        library = Path(place) / "lib" / "libmlx.so"
        if library.is_file() and any(Path(place).parent.glob("mlx_cpu.libs/libblas-*")):
            return library
    return None


def _try(candidate: Candidate, mlx: Path, folder: Path) -> tuple[Verdict, ctypes.CDLL | None]:
    """Return a candidate's verdict, and the library opened if it may be used."""
    try:
        key = key_of((candidate.library, mlx), (_SHIM_VERSION, candidate.prefix))
    except OSError as error:
        return Verdict(error=f"it can't be read ({error.strerror}); correct its path"), None
    library = folder / f"{key}.so" if candidate.prefix else candidate.library
    verdict = read_finding(folder, key, Verdict)
    if verdict is not None and verdict.error is None:
        with suppress(OSError):  # a shim that is missing or damaged is built again below
            return verdict, _open(library)
        verdict = None
    if verdict is None:
        verdict = _examine(candidate, library, folder, key)
    if verdict.error is not None:
        return verdict, None
    try:
        return verdict, _open(library)
    except OSError as error:
        return Verdict(error=f"it can't be opened ({error})"), None


def _open(library: Path) -> ctypes.CDLL:
    """Open a library for MLX's calls, with no more threads than it may use. Raises: OSError."""
    with _thread_limit(most_threads()):
        return ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _examine(candidate: Candidate, library: Path, folder: Path, key: str) -> Verdict:
    """Build the shim of a candidate, if it needs one, probe it, and keep the outcome.

    A failure that says nothing about the library, such as a missing compiler, is not kept.
    """
    from .probe import (  # at the first start only: later ones save the imports
        ProbeFailed,
        probe,
    )
    from .shim import ShimFailed, build_shim

    try:
        if candidate.prefix:
            build_shim(candidate, library)
        verdict = probe(library)
    except (ProbeFailed, ShimFailed) as error:
        return Verdict(error=str(error))
    if verdict.lasts:
        keep_finding(folder, key, verdict)
    return verdict


@contextmanager
def _thread_limit(count: int) -> Iterator[None]:
    """Let an OpenBLAS that is opened meanwhile start no more threads than it may ever use."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OPENBLAS_NUM_THREADS"]
        else:
            os.environ["OPENBLAS_NUM_THREADS"] = before
