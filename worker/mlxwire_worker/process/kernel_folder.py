"""Gives MLX a folder of this user's own for the kernels that it compiles on Linux.

MLX (0.32.4) writes each kernel under a predictable name below the folder for temporary files, and
loads what it finds there: in a shared /tmp, another user could plant one. The folder here is kept
between runs, so a kernel is compiled once, by g++ for a CPU or by NVRTC for a CUDA device.
"""

from __future__ import annotations

import os
import platform
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from .private_folder import PrivateFolder, private_folder

REMEDY = "set XDG_CACHE_HOME to a folder of yours that is writable, has room, and is not mounted noexec"
_TEMPORARY = "TMPDIR"
_DISABLED = "MLX_DISABLE_COMPILE"
_CUDA = "MLX_PTX_CACHE_DIR"
_NOWHERE = "/dev/null/mlx"
"""A folder that can't be created: MLX then keeps no kernel of a CUDA device, and reads none."""
_FAILED = (
    "[compile::eval_cpu]",
    "could not load c++ shared library",
    "failed to compile kernel",
    "failed to load compiled",
    "there is no kernel named",
    "can not find locations of cuda headers",
)
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


def keep_kernels_apart(version: str, architecture: str) -> None:
    """Have MLX keep the kernels of a CUDA device in a folder of its architecture, such as sm_90.

    Call it before the first kernel is compiled. MLX (0.32.4) names a kernel's file by what it
    computes alone. Machines that share a home, or a card that was replaced, would load machine
    code of another architecture. A host's own MLX_PTX_CACHE_DIR stays as it is.
    """
    if _chosen is not None and _chosen.path is not None and _CUDA not in os.environ:
        os.environ[_CUDA] = str(_chosen.path / "mlx" / version / f"cuda-{architecture}")
        _remove_cut_kernels()


def compiled_kernels() -> set[str]:
    """Return the paths of all kernels that MLX keeps on Linux; none on another system."""
    if sys.platform != "linux":
        return set()
    libraries = Path(_temporary_folder()).glob("mlx/*/cpu/lib*.so")
    return {*map(str, libraries), *map(str, _cuda_kernels())}


def has_compiled_for_cuda() -> bool:
    """Return True if this process has begun to compile a kernel of a CUDA device, now or earlier.

    NVRTC loads a library of its own for the first one.
    """
    with suppress(OSError):
        return b"libnvrtc-builtins" in Path("/proc/self/maps").read_bytes()
    return False


def slow_kernels() -> str | None:
    """Return why MLX computes without compiled kernels; None if it has them."""
    if _chosen is None or _chosen.path is not None or not _chosen.refused:
        return None
    return f"no folder can keep them ({'; '.join(_chosen.refused)}); {REMEDY}"


def folder_of_failed_kernel(error: BaseException) -> str | None:
    """Return the folder of the kernels if MLX failed to compile or load one; None otherwise.

    A kernel that can't be loaded is a file that was cut, by a full disk or because its writer was
    killed. It is removed, so that MLX compiles it again at the next request.
    """
    told = str(error)
    if not isinstance(error, RuntimeError):  # the text of another exception may quote a prompt
        return None
    if not any(part in told.lower() for part in _FAILED):
        return None
    folder = _temporary_folder()
    if _chosen is not None and _chosen.path is not None:
        for library in Path(folder).glob("mlx/*/cpu/lib*.so"):
            if f"{library}:" in told:
                _remove(library)
        for kernel in _cuda_kernels():
            if _is_told_of(kernel, told):
                _remove(kernel)
    return folder


def with_whole_kernels(compute: Callable[[], None]) -> None:
    """Call ``compute``, and again as long as it fails for a cut kernel, which is then removed."""
    while True:
        before = compiled_kernels()
        try:
            return compute()
        except RuntimeError as error:
            if folder_of_failed_kernel(error) is None or not before - compiled_kernels():
                raise


def _temporary_folder() -> str:
    return os.environ.get(_TEMPORARY) or "/tmp"


def _cuda_folder() -> Path | None:
    """Return the folder for the kernels of a CUDA device, where it is known."""
    return Path(folder) if (folder := os.environ.get(_CUDA)) else None


def _cuda_kernels() -> Iterator[Path]:
    """Yield the kernels of a CUDA device; a long name is spread over folders."""
    folder = _cuda_folder()
    return folder.rglob("*.ptx") if folder is not None else iter(())


def _is_told_of(kernel: Path, told: str) -> bool:
    """Return True if a message of MLX is about this kernel of a CUDA device.

    A message about a missing function names no kernel; the list of functions beside it was cut.
    """
    folder = _cuda_folder()
    assert folder is not None
    if "no kernel named" in told:
        with suppress(OSError):
            return not kernel.with_suffix(".txt").stat().st_size
        return True
    name = "".join(kernel.relative_to(folder).with_suffix("").parts)
    return f"compiled {name} kernel" in told


def _remove_cut_kernels() -> None:
    """Remove the kernels of a CUDA device that were not written to their end.

    The driver ends the process with a signal when it loads one. MLX writes the list of functions
    and the source after the kernel, so a writer that was killed leaves one of them out.
    """
    for kernel in _cuda_kernels():
        try:
            parts = [kernel.with_suffix(name).stat().st_size for name in (".txt", ".cu")]
            complete = all(parts) and _is_whole(kernel)
        except OSError:
            complete = False
        if not complete:
            _remove(kernel)


def _is_whole(kernel: Path) -> bool:
    """Return True if a file of machine code (ELF, 64 bits) is as long as its header says.

    Raises: OSError.
    """
    with kernel.open("rb") as file:
        header = file.read(64)
    if not header.startswith(b"\x7fELF"):
        return bool(header)  # text for a driver that compiles it further
    if len(header) < 64:
        return False
    segments, sections = struct.unpack_from("<QQ", header, 32)
    sizes = struct.unpack_from("<4H", header, 54)
    end: int = max(segments + sizes[0] * sizes[1], sections + sizes[2] * sizes[3])
    return kernel.stat().st_size >= end


def _remove(kernel: Path) -> None:
    with suppress(OSError):
        kernel.unlink()


def _choose() -> PrivateFolder:
    found = private_folder()
    if found.path is None:
        _keep_none()
        return found
    # A home folder may be shared between machines, whose libraries differ.
    kernels = found.path / f"kernels-{platform.machine()}-{_libc()}"
    try:
        kernels.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        _keep_none()
        return PrivateFolder(None, (*found.refused, f"{kernels}: {error.strerror}"))
    os.environ[_TEMPORARY] = str(kernels)
    return found._replace(path=kernels)


def _keep_none() -> None:
    """Have MLX compile nothing on a CPU, and keep nothing of what a CUDA device needs."""
    os.environ[_DISABLED] = "1"
    os.environ.setdefault(_CUDA, _NOWHERE)


def _libc() -> str:
    with suppress(ValueError, OSError):
        return (os.confstr("CS_GNU_LIBC_VERSION") or "unknown").replace(" ", "-")
    return "unknown"
