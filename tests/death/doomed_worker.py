"""The worker that ships, with a thread in it that does what a FIFO tells, at the worst moment.

python tests/death/doomed_worker.py FIFO [ARGUMENT…]    the arguments are the worker's
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path


def segfault() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def abort() -> None:
    """Abort, as C++ does with an exception that nobody caught."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()


def no_more_memory() -> None:
    """Let every further allocation fail."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), hard))


def close_stdout() -> None:
    for fd in same_pipe(STDOUT):
        os.close(fd)


def close_stdin() -> None:
    for fd in same_pipe(STDIN):
        os.close(fd)


def grandchild() -> None:
    """Die, and leave all three pipes with a process that no signal to the group reaches."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"],
        stdin=same_pipe(STDIN)[0],
        stdout=same_pipe(STDOUT)[0],
        start_new_session=True,
    )
    os.write(2, b"grandchild %d\n" % child.pid)
    os.kill(os.getpid(), signal.SIGKILL)


def same_pipe(pipe: tuple[int, int]) -> list[int]:
    """Return all descriptors of a pipe, also those that were moved."""
    found = []
    for fd in range(256):
        try:
            status = os.fstat(fd)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == pipe:
            found.append(fd)
    return found


def identify(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def obey(fifo: str) -> None:
    globals()[Path(fifo).read_text()]()


if __name__ == "__main__":
    STDIN, STDOUT = identify(0), identify(1)
    fifo = sys.argv.pop(1)
    threading.Thread(target=obey, args=(fifo,), daemon=True).start()
    from mlxwire_worker.__main__ import main

    main()
