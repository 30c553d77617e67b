"""Keeps what a check found in a private folder, so that only the first process pays for it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

_LARGEST = 1 << 12
"""Bytes of the largest file that is read: a finding takes some hundred."""

Finding = TypeVar("Finding", bound=msgspec.Struct)


def read_finding(folder: Path, key: str, kind: type[Finding]) -> Finding | None:
    """Return the finding under a key; None if the folder holds none that can be read."""
    with suppress(OSError, msgspec.MsgspecError):
        file = os.open(_file(folder, key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as stream:
            return msgspec.json.decode(stream.read(_LARGEST), type=kind)
    return None


def keep_finding(folder: Path, key: str, finding: msgspec.Struct) -> None:
    """Write a finding; a folder that can't be written to only makes later processes slower."""
    file = _file(folder, key)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        partial.write_bytes(msgspec.json.encode(finding))
        partial.replace(file)


def _file(folder: Path, key: str) -> Path:
    return folder / f"{key}.json"
