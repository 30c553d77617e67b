"""Moves the wire away from descriptors 0 and 1, before anything else runs.

Afterwards descriptor 1 is stderr and 0 is the null device, so neither a `print` in a library nor a
child process can touch the protocol (docs/lessons.md 7, 8).
"""

from __future__ import annotations

import os
from contextlib import suppress


def claim_wire() -> tuple[int, int | None]:
    """Move stdin and stdout to new descriptors and return them as (in, out).

    Child processes do not inherit them. A closed stdin becomes one at its end; for a closed stdout
    the second value is None. Raises: OSError if the process may open too few descriptors.
    """
    is_open = [_is_open(number) for number in range(3)]
    for number in range(3):
        if not is_open[number]:
            _open_null(number)
    wire_in = os.dup(0)
    wire_out = os.dup(1) if is_open[1] else None
    _open_null(0)
    os.dup2(2, 1)
    return wire_in, wire_out


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _open_null(number: int) -> None:
    """Open the null device as a standard descriptor, which child processes inherit.

    While one of them is closed, the next descriptor to be opened would take its number: a pipe of
    the wire would become stderr, or a child's stdin.
    """
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)


def log(message: str) -> None:
    """Write one line to stderr, and ignore a closed stderr.

    ``message`` must not contain prompts or generated text.
    """
    with suppress(OSError):
        os.write(2, f"mlxwire-worker[{os.getpid()}]: {message}\n".encode("utf-8", "replace"))
