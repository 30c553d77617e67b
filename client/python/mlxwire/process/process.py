"""The worker's process: spawned into its own group, its pipes always read, its death noticed.

Death is the process's end, not the end of its pipes, which a grandchild may hold
(cpython#119710). Whatever is left of the group is killed before the child is reaped, so no
signal ever goes to a pid that is not ours (go-plugin#320).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, Protocol

from ..errors import SpawnFailed
from .exit_watch import ExitWatch
from .pipes import PipeReader, PipeWriter
from .stderr_ring import StderrRing


class ProcessListener(Protocol):
    """Who hears what a process does."""

    def stdout_received(self, chunk: bytes) -> None: ...
    def pipe_lost(self, which: Literal["stdin", "stdout"]) -> None: ...
    def process_exited(self, returncode: int) -> None: ...


class WorkerProcess:
    """One child. ``returncode`` is negative for a signal, None while it lives."""

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
        """Spawn.

        Raises: SpawnFailed where the system refuses.
        """
        self._popen = popen = _spawn(command, env, cwd)
        self.pid = popen.pid
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
            self._watch = ExitWatch(loop, popen.pid, self._ended, self._has_ended)
        except BaseException:  # such as a loop that can't watch descriptors
            with popen:
                popen.kill()
            raise

    @property
    def alive(self) -> bool:
        """Whether its end has not been seen yet."""
        return self.returncode is None

    def write(self, line: bytes) -> None:
        """Queue bytes for its stdin. Never waits."""
        self._stdin.write(line)

    def close_stdin(self) -> None:
        """Give it the end of its input; what was still queued is dropped."""
        self._stdin.close()
        assert self._popen.stdin
        self._popen.stdin.close()

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the child and all its group; nothing once the child is reaped."""
        if self._popen.returncode is None:
            # macOS answers EPERM for a group of zombies.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        """Give back every descriptor, also of a child that nothing could end."""
        self._watch.close()
        self.close_stdin()
        for reader in self._readers:
            reader.close()
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()

    def _has_ended(self) -> bool:
        return self._popen.poll() is not None

    def _ended(self) -> None:
        for reader in self._readers:
            reader.read_rest()
        self._stderr_ring.end()
        self.signal_group(signal.SIGKILL)
        self.returncode = self._popen.wait()
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
            env={**os.environ, **env} if env else None,
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        blamed = getattr(error, "filename", None) or command[0]
        raise SpawnFailed(
            f"can't start the worker `{' '.join(command)}`: {blamed}: {reason}. Check the "
            "command, or install a worker with `pip install 'mlxwire[mlx]'`"
        ) from error
