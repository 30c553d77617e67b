"""Recognizes failures that the worker's surroundings cause, and gives them a code and a remedy.

The code `internal` says that the worker has a defect, so no such failure may have it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from mlxwire_protocol import WireError

from ..process.kernel_folder import REMEDY, folder_of_failed_kernel


class Lack(NamedTuple):
    """A lack in the surroundings: its error code, what is short, and what to do about it."""

    code: str
    what: str
    remedy: str


_MEMORY = Lack(
    "out_of_memory",
    "the device's or the machine's memory is full, or a limit of the process is reached",
    "send shorter prompts or fewer requests at once, load a smaller model, or raise the limit "
    "(`ulimit -v`, `ulimit -d`)",
)
_DESCRIPTORS = Lack(
    "unavailable",
    "the worker has no file descriptor left",
    "raise its limit (`ulimit -n`) to 256 or more, and send the request again",
)
_SYSTEM_DESCRIPTORS = Lack(
    "unavailable",
    "the system has no file descriptor left",
    "end other programs, and send the request again",
)
_PROCESSES = Lack(
    "unavailable",
    "the worker may start no more threads or processes",
    "end other programs of its user, or raise the limits of processes (`ulimit -u`) and of memory "
    "(`ulimit -v`), and send the request again",
)
_DISK = Lack(
    "unavailable",
    "there is no room left to write",
    "free some room, or raise the quota or the limit of file sizes (`ulimit -f`), and send the "
    "request again",
)
_READ_ONLY = Lack(
    "unavailable", "the file system is read-only", "make it writable, or name another folder"
)
_BROKEN_DISK = Lack(
    "unavailable", "the disk failed", "check the disk, and send the request again"
)
_KERNELS = Lack(
    "unavailable",
    "the compiler of its kernels (g++ for a CPU) fails in its folder",
    f"send the request again; if it fails again, check the compiler, and {REMEDY}",
)
_NEVER_THE_REQUEST = (_DESCRIPTORS, _SYSTEM_DESCRIPTORS, _PROCESSES, _DISK)
_BY_NUMBER = {
    errno.ENOMEM: _MEMORY,
    errno.EMFILE: _DESCRIPTORS,
    errno.ENFILE: _SYSTEM_DESCRIPTORS,
    errno.EAGAIN: _PROCESSES,
    errno.ENOSPC: _DISK,
    errno.EDQUOT: _DISK,
    errno.EFBIG: _DISK,
    errno.EROFS: _READ_ONLY,
    errno.EIO: _BROKEN_DISK,
}
_BY_TEXT = (
    ("out of memory", _MEMORY),
    ("bad_alloc", _MEMORY),
    ("unable to allocate", _MEMORY),
    ("cannot allocate memory", _MEMORY),
    ("failed to map segment", _MEMORY),
    ("too many open files", _DESCRIPTORS),
    ("can't start new thread", _PROCESSES),
    ("resource temporarily unavailable", _PROCESSES),
    ("threadpoolbuilderror", _PROCESSES),
    ("no space left on device", _DISK),
    ("disk quota exceeded", _DISK),
    ("file too large", _DISK),
    ("unable to write", _DISK),  # MLX, of a file of tensors
)
"""Parts of messages of native code, in lower case: they give no error number."""
_NATIVE = (RuntimeError, ImportError, SystemError)
"""Classes of exceptions from native code. The text of any other may quote a prompt."""


def lack_behind(error: BaseException) -> Lack | None:
    """Return what the surroundings lack, if that raised ``error`` or one behind it."""
    for one in _chain(error):
        if isinstance(one, MemoryError):
            return _MEMORY
        if isinstance(one, OSError) and one.errno in _BY_NUMBER:
            return _BY_NUMBER[one.errno]
        if isinstance(one, _NATIVE) or not isinstance(one, Exception):
            told = str(one).lower()
            if (
                "operation not permitted" in told
            ):  # the disk is mounted noexec, memory is not short
                continue
            for part, lack in _BY_TEXT:
                if part in told:
                    return lack
    return None


def blames_request_wrongly(error: WireError) -> bool:
    """Return True if a typed error blames the request for what the surroundings lack.

    For example, a file that can't be opened for want of descriptors is not broken. A lack of
    memory is left out, because a broken file may ask for any amount of it.
    """
    return error.code != "unavailable" and lack_behind(error) in _NEVER_THE_REQUEST


def lacking(
    error: BaseException, doing: str = "", *, folder: str | None = None
) -> WireError | None:
    """Return the typed error for a failure that the surroundings caused; None for any other.

    ``doing`` says what could not be done, such as "the cache can't be saved". ``folder`` is the
    folder that was written to.
    """
    lack = lack_behind(error)
    if (kernels := folder_of_failed_kernel(error)) is not None:
        lack, folder = lack or _KERNELS, kernels
        doing = "MLX can't compile or load a kernel"
    elif lack in (_DISK, _READ_ONLY, _BROKEN_DISK):
        folder = folder or _folder_of(error)
    else:
        folder = None
    if lack is None:
        return None
    where = f" ({folder})" if folder else ""
    begin = f"{doing}: " if doing else ""
    return WireError(
        lack.code,
        f"{begin}{lack.what}{where}; {lack.remedy}",
        data={"folder": folder} if folder else {},
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that led to it."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _folder_of(error: BaseException) -> str | None:
    for one in _chain(error):
        if isinstance(one, OSError) and isinstance(one.filename, str):
            return os.path.dirname(one.filename) or one.filename
    return None
