"""Describes what the probe of a library found, and names it for the folder that keeps it."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from .... import __version__


class Verdict(msgspec.Struct, frozen=True):
    """The outcome of a probe: the library's name and speed, or the ``error`` that rules it out.

    ``lasts`` is False for an error that may go without a change to the library's file, such as a
    missing library that it needs. The next start then probes it again.
    """

    error: str | None
    name: str = ""
    gflops: float = 0.0
    lasts: bool = True


def key_of(files: Iterable[Path], parts: Iterable[str]) -> str:
    """Return a name for a probe's outcome that changes with anything that may change it.

    That is each file's path, time and size, the versions of the worker and of Python, the processor,
    and the ``parts``. Raises: OSError if a file is missing.
    """
    told = [__version__, sys.version, platform.machine(), _processor(), *parts]
    for file in files:
        found = file.stat()
        told.append(f"{file}:{found.st_mtime_ns}:{found.st_size}")
    return hashlib.sha256("\0".join(told).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _processor() -> str:
    """Return the model of the processor: a home folder may be shared between machines."""
    with suppress(OSError), open("/proc/cpuinfo", "rb") as file:
        return file.read(512).decode("ascii", "replace").partition("cpu MHz")[0]
    return ""
