"""Signal and reap a child process, and never a stranger that has been given its pid since.

In a host that ignores SIGCHLD, or that reaps all its children itself, the pid is free at the exit.
On Linux a pidfd keeps naming the process and its group. Elsewhere only the pid can be used.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys

from .owner import Owner

SIGNAL_PROCESS_GROUP = 1 << 2
"""PIDFD_SIGNAL_PROCESS_GROUP of Linux 6.9, for which Python has no name."""


class ChildHandle:
    """The child of a `Popen`, which must lead a process group of its own.

    ``returncode`` is negative for a signal. It is None if the child was not reaped, or if somebody
    else has reaped it, so that its status is unknown.
    """

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.returncode: int | None = None
        self._popen = popen
        self._owner = Owner()
        self._reaped = False
        self._pidfd: int | None = None
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # it is reaped already, or no descriptor is left
                self._pidfd = os.pidfd_open(popen.pid)

    @property
    def owned(self) -> bool:
        """True in the process that has spawned the child, False in a fork of it."""
        return self._owner.here

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the child's process group; do nothing once the child is reaped."""
        if self._reaped or not self.owned:
            return
        # macOS answers EPERM for a group of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "linux" and self._pidfd is not None:
                try:
                    signal.pidfd_send_signal(self._pidfd, number, None, SIGNAL_PROCESS_GROUP)
                    return
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
                signal.pidfd_send_signal(self._pidfd, 0)  # raises if somebody has reaped it
            os.killpg(self._popen.pid, number)

    def has_exited(self) -> bool:
        """Return True if the child has exited, and reap it then."""
        self._reap(os.WNOHANG)
        return self._reaped

    def reap(self) -> int | None:
        """Reap the child, which has exited, and return its ``returncode``."""
        self._reap(0)
        return self.returncode

    def close(self) -> None:
        """Close the descriptor; the child can't be signalled any more."""
        self._reaped = True
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _reap(self, options: int) -> None:
        if self._reaped:
            return
        try:
            if sys.platform == "linux" and self._pidfd is not None:
                found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | options)
                if found is None:
                    return
                exited = found.si_code == os.CLD_EXITED
                self.returncode = found.si_status if exited else -found.si_status
            else:
                pid, status = os.waitpid(self._popen.pid, options)
                if pid == 0:
                    return
                self.returncode = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            self.returncode = None
        self._reaped = True
        # Popen must not wait for the child again; it takes any number for an end.
        self._popen.returncode = 0 if self.returncode is None else self.returncode
