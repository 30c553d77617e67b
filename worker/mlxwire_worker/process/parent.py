"""Notices the end of the host, named by its pid or else as the parent process.

A host names itself, because wrappers may lie between it and the worker, and because it may be gone
before the worker has started: `getppid` would name another process then. Another process may hold
the pipes, so their end is not enough.
"""

from __future__ import annotations

import os
import select
import sys
from itertools import pairwise

VARIABLE = "MLXWIRE_PARENT_PID"


def named_host(arguments: list[str]) -> str:
    """Return the host's pid as `--parent-pid` or else the environment names it; empty without one.

    The variable is removed, because a worker's own children must not watch its host. The result
    serves a check before the imports that parsing needs; `process.options` refuses what is no pid.
    """
    named = os.environ.pop(VARIABLE, "")
    for word, following in pairwise([*arguments, ""]):
        option, equals, value = word.partition("=")
        if option == "--parent-pid":
            named = value if equals else following
    return named


class ParentWatch:
    """Watches the process ``pid``; 0 is the process that has started this one.

    A pid may be given to another process later. A pidfd (Linux) and a kqueue (macOS) keep naming
    the same process. Elsewhere, or where the system refuses them, the pid is looked up.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.fd: int | None = None
        """A descriptor that is readable once the process has ended; None without one."""
        self._parent = os.getppid()
        self._kqueue: object = None
        self._missing = False
        if not pid:
            return
        try:
            self._open(pid)
        except ProcessLookupError:
            self._missing = True
        except (OSError, OverflowError):  # a kernel without it, a sandbox, no descriptor left
            return

    def is_gone(self) -> bool:
        """Return True if the process has ended; never waits."""
        if self._missing:
            return True
        if self.fd is not None:
            poll = select.poll()
            poll.register(self.fd, select.POLLIN)
            return bool(poll.poll(0))
        if sys.platform == "darwin" and isinstance(self._kqueue, select.kqueue):
            return bool(self._kqueue.control(None, 1, 0))
        # Comparing with 1 would be wrong in a container, where the first parent may be pid 1, and
        # where a subreaper adopts orphans.
        if self.pid in (0, self._parent):
            return os.getppid() != self._parent
        return not _exists(self.pid)

    def _open(self, pid: int) -> None:
        if sys.platform == "linux":
            self.fd = os.pidfd_open(pid)
        elif sys.platform == "darwin":
            queue = select.kqueue()
            ended = select.kevent(
                pid,
                filter=select.KQ_FILTER_PROC,
                flags=select.KQ_EV_ADD,
                fflags=select.KQ_NOTE_EXIT,
            )
            queue.control([ended], 0)
            self._kqueue = queue


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (
        PermissionError,
        OverflowError,
    ):  # another user's; too large, which `options` refuses
        pass
    return True
