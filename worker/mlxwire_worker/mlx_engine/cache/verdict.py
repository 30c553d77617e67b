"""Keeps what the check of a model found, so that only the first load of a model pays for it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

_FOLDER = "verdicts"
_LARGEST = 1 << 12
"""Bytes of the largest file that is read: a verdict takes about 100."""


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The operations with which a model answers as it does alone and without a cache.

    ``together``: rows whose caches hold unlike numbers of tokens decode in one batch. ``padded``:
    rows of unlike length are prefilled in one batch. ``cut``: a cache's last tokens can be cut off.
    """

    together: bool
    padded: bool
    cut: bool


CAREFUL = Verdict(together=False, padded=False, cut=False)
"""The verdict before a model is checked: each sequence runs alone."""


def read(folder: Path, key: str) -> Verdict | None:
    """Return the verdict that was kept under a key; None if there is none that can be read."""
    with suppress(OSError, msgspec.MsgspecError):
        file = os.open(_file(folder, key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as stream:
            return msgspec.json.decode(stream.read(_LARGEST), type=Verdict)
    return None


def write(folder: Path, key: str, verdict: Verdict) -> None:
    """Keep a verdict; a folder that can't be written to only makes later loads slower."""
    file = _file(folder, key)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, exist_ok=True)
        partial.write_bytes(msgspec.json.encode(verdict))
        partial.replace(file)


def _file(folder: Path, key: str) -> Path:
    return folder / _FOLDER / f"{key}.json"
