"""Finds the processes that a driver has left behind: all that inherited its mark and still run.

A mark in the environment finds grandchildren too, whatever group, session or parent they have.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

MARK_VARIABLE = "MLXWIRE_CONFORMANCE_MARK"
GRACE_SECONDS = 2.0
"""A process that was killed is there until the system has taken it apart."""
LOOK_SECONDS = 0.02


def find_marked(mark: str) -> list[int]:
    """Return the pids of running processes with that mark."""
    assignment = f"{MARK_VARIABLE}={mark}"
    if sys.platform == "linux":
        return [
            int(folder.name)
            for folder in Path("/proc").iterdir()
            if folder.name.isdigit() and assignment.encode() in _environment(folder)
        ]
    listed = subprocess.run(
        ["ps", "-A", "-E", "-ww", "-o", "pid=,command="], capture_output=True, text=True
    ).stdout
    lines = [line.split(None, 1) for line in listed.splitlines() if assignment in line]
    return [int(words[0]) for words in lines]


def left_behind(mark: str, grace: float = GRACE_SECONDS) -> list[int]:
    """Return the marked processes that still run when all that was killed must be gone."""
    deadline = time.monotonic() + grace
    while (pids := find_marked(mark)) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)  # no event tells of the end of a process that is not a child
    return pids


def kill(pids: list[int]) -> None:
    """End them, so that no case disturbs another."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _environment(folder: Path) -> list[bytes]:
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or belongs to somebody else
        return []
