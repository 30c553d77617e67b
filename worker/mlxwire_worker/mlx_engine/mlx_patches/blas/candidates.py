"""Lists the libraries that may replace MLX's BLAS, the most wanted first."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

VARIABLE = "MLXWIRE_BLAS"
"""The environment variable that names a library, or `off`."""
PACKAGE = "scipy_openblas32"
"""The package that the extra ``[mlx]`` installs on Linux."""
_PREFIX = "scipy_"
"""What that package puts before every name, so that it can't be mistaken for another BLAS."""
_SYSTEM_FOLDERS = (
    f"/usr/lib/{platform.machine()}-linux-gnu",
    f"/usr/lib/{platform.machine()}-linux-gnu/openblas-pthread",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)
_SYSTEM_NAMES = ("libopenblas.so.0", "libopenblasp.so.0", "libopenblas.so")


class Candidate(NamedTuple):
    """A shared library, and the prefix of its names; empty if MLX can call it as it is."""

    library: Path
    prefix: str = ""


def switched_off() -> bool:
    """Return True if the user wants MLX's own BLAS."""
    return os.environ.get(VARIABLE, "").strip().lower() == "off"


def candidates() -> Iterator[Candidate]:
    """Yield the library that the user named, and no other; else the system's, then the package's.

    Only files that exist are yielded, except for the one that the user named.
    """
    if named := os.environ.get(VARIABLE, "").strip():
        yield _described(Path(os.path.expanduser(named)))
        return
    places = (Path(folder) / name for folder in _SYSTEM_FOLDERS for name in _SYSTEM_NAMES)
    system = next((place for place in places if place.is_file()), None)
    if system is not None:
        yield Candidate(system)
    spec = find_spec(PACKAGE)
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "lib"
        yield from (Candidate(file, _PREFIX) for file in sorted(folder.glob("lib*.so")))


def _described(library: Path) -> Candidate:
    """Return the candidate for a file that the user named, which may be the package's own."""
    return Candidate(library, _PREFIX if library.name.startswith("libscipy_openblas.") else "")
