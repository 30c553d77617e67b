"""`python -P -m mlxwire_worker.process.child.tied PID MODULE …`: runs a module, tied to the worker.

On Linux the kernel kills this process when the worker has ended, whatever it computes then. Elsewhere
the program notices the end of its stdin.
"""

from __future__ import annotations

import os
import sys

DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of prctl(2)."""


def tie(worker: int) -> None:
    """Let the kernel kill this process with the worker; exit at once if the worker is gone already.

    The thread of the worker that has started this process must live as long as the worker.
    """
    import ctypes
    import signal

    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != worker:
        os._exit(0)


def main() -> None:
    """Tie this process to the worker, and run the module with its arguments."""
    import faulthandler
    import runpy

    worker, module, *arguments = sys.argv[1:]
    tie(int(worker))
    faulthandler.enable()  # a crash in native code tells its place on stderr
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
