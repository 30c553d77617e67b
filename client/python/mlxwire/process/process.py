"""Run a worker's process: spawn it, read its pipes, notice its exit, clean up after it.

Theory of operation. Everything runs on the loop's thread, called by the loop when a descriptor
is ready: `PipeReader` for stdout and stderr, `PipeWriter` for stdin, `ExitWatch` for the exit.

The exit of the process is what counts as its death, not the end of its pipes: a grandchild may
hold the pipes open for hours (cpython#119710). `_ended` handles an exit in this order:

1. Read what stdout and stderr still hold. Replies that the worker wrote before it died count.
2. Kill the rest of the process group. The child is not reaped yet, so its pid can't belong to
   another process, and no signal ever goes to a stranger (go-plugin#320). `ChildHandle` ensures
   that also in a host where another part reaps children.
3. Reap the child, then close every descriptor.
4. Tell the listener, last, so that it finds nothing left to clean up.

`release` may run twice, at the exit and at the end of a close. A pipe that ends before the exit
is reported with `pipe_lost`: a process that can't be heard or told anything has to be ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, Protocol

from ..errors import SpawnFailed
from .child_handle import ChildHandle
from .exit_watch import ExitWatch
from .pipes import PipeReader, PipeWriter
from .stderr_ring import StderrRing

PARENT_VARIABLE = "MLXWIRE_PARENT_PID"
"""The worker ends itself when the process of this id has ended."""


class ProcessListener(Protocol):
    """Receives what a process does; `Connection` is the one implementation."""

    def stdout_received(self, chunk: bytes) -> None: ...
    def pipe_lost(self, which: Literal["stdin", "stdout"]) -> None: ...
    def process_exited(self, returncode: int | None) -> None: ...


class WorkerProcess:
    """One child process.

    ``returncode`` is negative for a signal. None: the process has not exited, or another part of
    the host has reaped it, so that its status is unknown.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None,
        cwd: str | os.PathLike[str] | None,
        stderr: StderrRing,
        listener: ProcessListener,
    ) -> None:
        """Spawn the process.

        Raises: SpawnFailed if the system can't start the program.
        """
        self._popen = popen = _spawn(command, env, cwd)
        self.pid = popen.pid
        self._child = ChildHandle(popen)
        self.returncode: int | None = None
        self._listener = listener
        self._stderr_ring = stderr
        self._exited = asyncio.Event()
        stdin, stdout, stderr_pipe = popen.stdin, popen.stdout, popen.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr_pipe is not None
        try:
            self._stdin = PipeWriter(loop, stdin.fileno(), partial(self._lost, "stdin"))
            self._readers = (
                PipeReader(
                    loop,
                    stdout.fileno(),
                    listener.stdout_received,
                    partial(self._lost, "stdout"),
                ),
                PipeReader(loop, stderr_pipe.fileno(), stderr.feed, stderr.end),
            )
            self._watch = ExitWatch(loop, popen.pid, self._ended, self._child.has_exited)
        except BaseException:  # for example, a loop that can't watch descriptors
            self._child.close()
            with popen:
                popen.kill()
            raise

    @property
    def alive(self) -> bool:
        """True until the exit has been noticed."""
        return not self._exited.is_set()

    def write(self, line: bytes) -> None:
        """Queue bytes for the process's stdin; never waits. A fork of the host writes nothing."""
        if self._child.owned:
            self._stdin.write(line)

    def close_stdin(self) -> None:
        """Close the process's stdin; drop what was still queued."""
        self._stdin.close()
        assert self._popen.stdin
        self._popen.stdin.close()

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the child's process group; do nothing once the child is reaped."""
        self._child.signal_group(number)

    async def wait(self, seconds: float) -> bool:
        """Wait for the exit; return False if ``seconds`` passed first."""
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        """Close every descriptor, also of a child that did not exit."""
        self._watch.close()
        self._child.close()
        self.close_stdin()
        for reader in self._readers:
            reader.close()
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()

    def _ended(self) -> None:
        for reader in self._readers:
            reader.read_rest()
        self._stderr_ring.end()
        self.signal_group(signal.SIGKILL)
        self.returncode = self._child.reap()
        self.release()
        self._exited.set()
        self._listener.process_exited(self.returncode)

    def _lost(self, which: Literal["stdin", "stdout"]) -> None:
        if self.alive:
            self._listener.pipe_lost(which)


def _spawn(
    command: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: str | os.PathLike[str] | None,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **(env or {}), PARENT_VARIABLE: str(os.getpid())},
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError, TypeError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        blamed = getattr(error, "filename", None) or command[0]
        raise SpawnFailed(
            f"the worker `{' '.join(map(str, command))}` can't be started: {blamed}: {reason}. "
            "Check the command and `cwd`, or install a worker with `pip install 'mlxwire[mlx]'`"
        ) from error
