"""Spawns a worker and speaks with it, synchronously: every wait has a limit, none is a sleep."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from .conversation import Conversation
from .patience import PATIENCE_SECONDS

WORKER = (sys.executable, "-P", "-m", "mlxwire_worker")


class Driver(Conversation):
    """A worker process. As a context it is killed at the end, if it still lives.

    Args:
        arguments: of the worker's command line.
        command: what is started; a worker by default.
        sockets: give it socketpairs for stdin and stdout, as Node does.
    """

    def __init__(
        self,
        *arguments: str,
        command: Sequence[str] = WORKER,
        sockets: bool = False,
        environment: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._socket: socket.socket | None = None
        child_in, self._stdin, self._stdout, child_out = self._make_wire(sockets)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdin=child_in,
            stdout=child_out,
            stderr=self._errors,
            env={**os.environ, **(environment or {})},
        )
        os.close(child_in)
        os.close(child_out)
        os.set_blocking(self._stdin, False)
        self._buffer = bytearray()

    def _make_wire(self, sockets: bool) -> tuple[int, int, int, int]:
        if not sockets:
            child_in, mine_in = os.pipe()
            mine_out, child_out = os.pipe()
            return child_in, mine_in, mine_out, child_out
        self._socket, theirs_in = socket.socketpair()
        mine_out_socket, theirs_out = socket.socketpair()
        return (
            theirs_in.detach(),
            os.dup(self._socket.fileno()),
            mine_out_socket.detach(),
            theirs_out.detach(),
        )

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, line: bytes) -> None:
        """Write all; fails if the worker leaves it unread for too long."""
        left = self.write_some(line, PATIENCE_SECONDS)
        assert not left, f"the worker left {len(left)} bytes unread"

    def write_some(self, data: bytes, patience: float) -> bytes:
        """Write until nothing was taken for ``patience`` seconds; return the rest."""
        view = memoryview(data)
        poll = select.poll()
        poll.register(self._stdin, select.POLLOUT)
        while view and poll.poll(patience * 1000):
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(self._stdin, view) :]
        return bytes(view)

    def read_line(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout
        while (end := self._buffer.find(b"\n")) < 0:
            if not self._readable(deadline - time.monotonic()):
                raise TimeoutError(f"no line in {timeout:.1f} s; stderr: {self.stderr()!r}")
            chunk = os.read(self._stdout, 1 << 18)
            if not chunk:
                rest, self._buffer = bytes(self._buffer), bytearray()
                return rest
            self._buffer += chunk
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line

    def silent_for(self, seconds: float) -> bool:
        """Return True if no output comes for ``seconds``."""
        return not self._buffer and not self._readable(seconds)

    def came_back_on_stdin(self) -> bytes:
        """Return the bytes that an ended worker wrote to its stdin, which is a socket."""
        assert self._socket is not None
        with contextlib.suppress(ConnectionResetError):  # it left requests unread
            return self._socket.recv(1 << 16)
        return b""

    def _readable(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        return bool(poll.poll(max(seconds, 0) * 1000))

    def close_stdin(self) -> None:
        """End the worker's input; a socket is half-closed and stays readable for its peer."""
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_WR)
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def close_stdout(self) -> None:
        """Stop listening while the worker may still speak."""
        if self._stdout >= 0:
            os.close(self._stdout)
            self._stdout = -1

    def wait(self, timeout: float = PATIENCE_SECONDS) -> int:
        """Wait for the worker's end; return its exit code."""
        return self.process.wait(timeout)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stderr(self) -> str:
        """Return the worker's stderr so far."""
        return os.pread(self._errors.fileno(), 1 << 20, 0).decode("utf-8", "replace")

    def close(self) -> None:
        """Kill the worker, if need be, and close every descriptor."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.close_stdin()
        self.close_stdout()
        if self._socket is not None:
            self._socket.close()
        self._errors.close()


def mock(*arguments: str, **options: Any) -> Driver:
    """Start a worker with the mock engine."""
    return Driver("--engine", "mock", *arguments, **options)
