"""Moves the wire away from descriptors 0 and 1, before anything else runs.

Afterwards descriptor 1 is stderr and 0 is the null device, so neither a `print` in a library nor a
child process can touch the protocol (docs/lessons.md 7, 8).
"""

from __future__ import annotations

import os
from contextlib import suppress


def claim_wire() -> tuple[int, int]:
    """Move stdin and stdout to new descriptors and return them as (in, out).

    Child processes do not inherit them.
    """
    _ensure_stderr()
    wire_in = os.dup(0)
    wire_out = os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return wire_in, wire_out


def _ensure_stderr() -> None:
    """Open the null device as stderr if the worker was started without one.

    Otherwise the next descriptor to be opened, one of the wire's, would become stderr.
    """
    try:
        os.fstat(2)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != 2:
            os.dup2(null, 2)
            os.close(null)
        os.set_inheritable(2, True)


def log(message: str) -> None:
    """Write one line to stderr, and ignore a closed stderr.

    ``message`` must not contain prompts or generated text.
    """
    with suppress(OSError):
        os.write(2, f"mlxwire-worker[{os.getpid()}]: {message}\n".encode("utf-8", "replace"))
