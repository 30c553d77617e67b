"""Claim the wire before anything else runs (LESSONS 7, 8).

Afterwards fd 1 is stderr and fd 0 is the null device, so a stray `print` in any library, and
any child process, can't touch the protocol.
"""

from __future__ import annotations

import os
from contextlib import suppress


def claim_wire() -> tuple[int, int]:
    """Move stdin and stdout to private descriptors: (in, out), not inherited by children."""
    _ensure_stderr()
    wire_in = os.dup(0)
    wire_out = os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return wire_in, wire_out


def _ensure_stderr() -> None:
    """Started without stderr, the next descriptor to be opened would become it: the wire."""
    try:
        os.fstat(2)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != 2:
            os.dup2(null, 2)
            os.close(null)
        os.set_inheritable(2, True)


def log(message: str) -> None:
    """One line to stderr, never prompts or generated text; a closed stderr is not a failure."""
    with suppress(OSError):
        os.write(2, f"mlxwire-worker[{os.getpid()}]: {message}\n".encode("utf-8", "replace"))
