"""One program in a process of its own: its task, its lines, its stderr and its end.

Theory of operation. The worker writes a task as one line to the program's stdin, and perhaps `cancel`
later. The program writes a line for each event to its stdout. One thread of the worker calls `wait`
again and again: it moves bytes on all three pipes and never blocks for longer than it is told.

Invariants. The process is reaped exactly once, and never signalled after that. Its end is known from the
process itself, not from its pipes, which a child of its own may hold. `close` may be called by another
thread than the one that waits, just before the worker exits.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic

from ..environment import LOADING, kept
from .safe_lines import SafeLines

MOST_LINE_BYTES = 1 << 20
_READ_BYTES = 1 << 16


class BadLine(Exception):
    """Raised for a line of the program that is longer than any event."""


def tied_command(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module of the worker in a process that ends with this one."""
    launcher = f"{__package__}.tied"
    return (sys.executable, "-P", "-m", launcher, str(os.getpid()), module, *arguments)


class Program:
    """A running program with its task."""

    def __init__(
        self, command: Sequence[str], task: bytes, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the program. Raises: OSError, MemoryError."""
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**kept(os.environ, LOADING), **(environment or {})},
        )
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._sink, self._source, self._errors = (pipe.fileno() for pipe in pipes if pipe)
        os.set_blocking(self._sink, False)
        self._unsent = memoryview(task + b"\n")
        self._unended = b""
        self._open = {self._source, self._errors}
        self.stderr_lines = SafeLines()

    @property
    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal; None while the program runs."""
        return self._process.poll()

    def cancel(self) -> None:
        """Ask the program to save what it has, and to end."""
        self.send(b"cancel")

    def send(self, line: bytes) -> None:
        """Write one more line to the program's stdin; `wait` moves it."""
        self._unsent = memoryview(bytes(self._unsent) + line + b"\n")

    def wait(self, seconds: float) -> list[bytes]:
        """Return the lines that came within ``seconds``; an empty list may mean the end.

        Raises: BadLine.
        """
        deadline = monotonic() + seconds
        while True:
            left = max(deadline - monotonic(), 0.0)
            lines = self._exchange(left)
            if lines or not left or self.exit_code is not None:
                return lines

    def rest(self) -> list[bytes]:
        """Return the lines that an ended program has left in its pipes. Raises: BadLine."""
        lines: list[bytes] = []
        while self._has_bytes():
            lines += self._exchange(0.0)
        if self._unended:
            lines.append(self._unended)
        return lines

    def close(self) -> None:
        """Kill the program if it still runs, and close its pipes."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def kill(self) -> None:
        """Kill the program, and wait for its end."""
        self._process.kill()
        self._process.wait()

    def signal_name(self) -> str | None:
        """Return the name of the signal that has ended the program, None if it ended by itself."""
        code = self.exit_code
        if code is None or code >= 0:
            return None
        with suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"

    def _exchange(self, seconds: float) -> list[bytes]:
        """Move bytes on the pipes that are ready within ``seconds``; return whole lines."""
        poll = select.poll()
        for number in self._open:
            poll.register(number, select.POLLIN)
        if self._unsent:
            poll.register(self._sink, select.POLLOUT)
        lines: list[bytes] = []
        for number, _ in poll.poll(seconds * 1000):
            if number == self._sink:
                self._send()
                continue
            chunk = os.read(number, _READ_BYTES)
            if not chunk:
                self._open.discard(number)
            elif number == self._errors:
                self.stderr_lines.add(chunk)
            else:
                *whole, self._unended = (self._unended + chunk).split(b"\n")
                lines += whole
                if len(self._unended) > MOST_LINE_BYTES:
                    raise BadLine
        return lines

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._sink, self._unsent[:_READ_BYTES]) :]
        except BlockingIOError:
            return
        except OSError:  # it has closed its stdin, most likely by its end
            self._unsent = memoryview(b"")

    def _has_bytes(self) -> bool:
        poll = select.poll()
        for number in self._open:
            poll.register(number, select.POLLIN)
        return bool(self._open and poll.poll(0))
