"""Gives MLX a folder of this user's own for the kernels that it compiles on a Linux CPU.

MLX (0.32.4) writes each kernel as a library with a predictable name below the folder for temporary
files, and loads what it finds there: in a shared /tmp, another user could plant one. The folder here
is kept between runs, so a kernel is compiled once.
"""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

from .private_folder import PrivateFolder, private_folder

REMEDY = "set XDG_CACHE_HOME to a folder of yours that is writable, has room, and is not mounted noexec"
_TEMPORARY = "TMPDIR"
_DISABLED = "MLX_DISABLE_COMPILE"
_FAILED = ("[compile::eval_cpu]", "could not load c++ shared library")
"""Parts of MLX's messages if it can't compile or load a kernel, in lower case."""

_chosen: PrivateFolder | None = None


def use_private_kernels() -> PrivateFolder:
    """Have MLX keep its kernels in a private folder; without one, have it compile none.

    The first call must come before MLX is imported; later calls return its outcome. MLX reads
    ``TMPDIR`` for each kernel, so the variable stays set; g++ puts its own files there too.
    """
    global _chosen
    if _chosen is None:
        _chosen = _choose() if sys.platform == "linux" else PrivateFolder(None)
    return _chosen


def slow_kernels() -> str | None:
    """Return why MLX computes without compiled kernels; None if it has them."""
    if _chosen is None or _chosen.path is not None or not _chosen.refused:
        return None
    return f"no folder can keep them ({'; '.join(_chosen.refused)}); {REMEDY}"


def folder_of_failed_kernel(error: BaseException) -> str | None:
    """Return the folder of the kernels if MLX failed to compile or load one; None otherwise.

    A kernel that can't be loaded is a library that was cut, by a full disk or because g++ was
    killed. It is removed, so that MLX compiles it again at the next request.
    """
    told = str(error)
    if not isinstance(error, RuntimeError):  # the text of another exception may quote a prompt
        return None
    if not any(part in told.lower() for part in _FAILED):
        return None
    folder = os.environ.get(_TEMPORARY) or "/tmp"
    if _chosen is not None and _chosen.path is not None:
        for library in Path(folder).glob("mlx/*/cpu/lib*.so"):
            if f"{library}:" in told:
                with suppress(OSError):
                    library.unlink()
    return folder


def _choose() -> PrivateFolder:
    found = private_folder()
    if found.path is None:
        os.environ[_DISABLED] = "1"
        return found
    # A home folder may be shared between machines, whose libraries differ.
    kernels = found.path / f"kernels-{platform.machine()}-{_libc()}"
    try:
        kernels.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        os.environ[_DISABLED] = "1"
        return PrivateFolder(None, (*found.refused, f"{kernels}: {error.strerror}"))
    os.environ[_TEMPORARY] = str(kernels)
    return found._replace(path=kernels)


def _libc() -> str:
    with suppress(ValueError, OSError):
        return (os.confstr("CS_GNU_LIBC_VERSION") or "unknown").replace(" ", "-")
    return "unknown"
