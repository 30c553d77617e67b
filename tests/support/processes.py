"""Facts about processes that are not our children."""

from __future__ import annotations

import os
import select
import subprocess


def has_ended(pid: int, timeout: float) -> bool:
    """Return True if a process ends within ``timeout`` seconds, by the kernel's own notice."""
    if hasattr(os, "pidfd_open"):
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        try:
            return bool(poll.poll(timeout * 1000))
        finally:
            os.close(fd)
    queue = select.kqueue()
    event = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
    try:
        return bool(queue.control([event], 1, timeout))
    except ProcessLookupError:
        return True
    finally:
        queue.close()


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def resident_bytes(pid: int) -> int:
    """Return the physical memory of a process."""
    found = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True)
    return int(found.stdout) * 1024
