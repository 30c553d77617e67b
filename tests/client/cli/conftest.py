"""The command as a user has it: in pipes by `Run`, and on a terminal by `Terminal`."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mlxwire.cli.app import app
from support.patience import PATIENCE_SECONDS
from support.repository import ROOT

# A runner in the background of a shell ignores Ctrl-C, and its children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

COMMAND = [sys.executable, "-c", "from mlxwire.cli import main; main()"]
MOCK = f"{sys.executable} -P -m mlxwire_worker --engine mock"
SLOW_MOCK = f"{MOCK} --mock-step-seconds 0.01"

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(worker: str = MOCK) -> dict[str, str]:
    """Return this process's variables, with that worker and none that turns colours on or off."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
    }
    return {**kept, "MLXWIRE_WORKER": worker, "TERM": "xterm"}


@pytest.fixture
def run() -> Run:
    """Run the command to its end, with pipes."""

    def run(
        *args: str, worker: str = MOCK, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *args],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment(worker),
            cwd=ROOT,
            timeout=PATIENCE_SECONDS,
        )

    return run


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the command in this process, which is quicker; without a terminal."""

    def invoke(*args: str, worker: str = MOCK, stdin: str = "") -> Any:
        monkeypatch.setenv("MLXWIRE_WORKER", worker)
        return CliRunner().invoke(app, [*args], input=stdin)

    return invoke


@pytest.fixture
def worker_that(tmp_path: Path) -> Callable[[str], str]:
    """Return the command of a slow mock that runs a statement in the middle of its first answer."""

    def worker_that(statement: str) -> str:
        script = tmp_path / "worker.py"
        script.write_text(_MISBEHAVING.format(statement=statement))
        return f"{sys.executable} {script} --engine mock --mock-step-seconds 0.01"

    return worker_that


_MISBEHAVING = """
import os, signal
from mlxwire_worker import __main__
from mlxwire_worker.mock import engine as mock_engine

steps = iter(range(8, -1, -1))
step = mock_engine.MockEngine.step

def misbehave(engine):
    if next(steps, None) == 0:
        {statement}
    return step(engine)

mock_engine.MockEngine.step = misbehave
__main__.main()
"""


NEVER = "\0"
"""What no command shows."""


class Terminal:
    """The command on a pseudo-terminal of its own; ``stdout`` may go elsewhere."""

    def __init__(self, *args: str, worker: str = MOCK, stdout: int | None = None) -> None:
        self._fd, child = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LEAD_TERMINAL, *args],
            stdin=child,
            stdout=child if stdout is None else stdout,
            stderr=child,
            env=environment(worker),
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(child)
        self._unread = ""

    def type(self, keys: str) -> None:
        """Press keys; ``\\x03`` is Ctrl-C, ``\\x04`` Ctrl-D."""
        os.write(self._fd, keys.encode())

    def expect(self, text: str) -> str:
        """Wait until the text is shown; return all that was shown, up to the text and with it."""
        assert self._shows(text, PATIENCE_SECONDS), (
            f"{text!r} did not come, but {self._unread!r}"
        )
        before, found, self._unread = self._unread.partition(text)
        return before + found

    def interrupt(self, text: str) -> None:
        """Press Ctrl-C until the text is shown.

        At a prompt once may not do: CPython's `input` learns of a signal that comes between
        its prompt and its read at the next key only.
        """
        for _ in range(15):
            self.type("\x03")
            if self._shows(text, 1):
                break
        self.expect(text)

    def end(self) -> tuple[str, int]:
        """Wait for the command's end; return the rest of its output and its exit code."""
        assert not self._shows(NEVER, PATIENCE_SECONDS)
        return self._unread, self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)

    def _shows(self, text: str, seconds: float) -> bool:
        """Return True if the text is shown in time, before the command ends."""
        deadline = time.monotonic() + seconds
        while text not in self._unread:
            if not select.select([self._fd], [], [], max(0, deadline - time.monotonic()))[0]:
                return False
            if not (shown := self._read()):
                return False
            self._unread += shown
        return True

    def _read(self) -> str:
        try:
            return os.read(self._fd, 65536).decode(errors="replace")
        except OSError:  # how Linux tells that the other side is closed
            return ""


_LEAD_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from mlxwire.cli import main
main()
"""


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Yield a function that opens terminals; they are closed at the end."""
    opened: list[Terminal] = []

    def open_terminal(*args: str, **options: object) -> Terminal:
        opened.append(Terminal(*args, **options))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()
