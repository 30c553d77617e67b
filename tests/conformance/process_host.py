"""A worker process as the peer of a transcript."""

from __future__ import annotations

import fcntl
import queue
import subprocess
import tempfile
import termios
import threading
import time
from pathlib import Path
from types import TracebackType

from support.patience import PATIENCE_SECONDS

SECONDS = PATIENCE_SECONDS
"""A worker that is silent for so long while a line is due has failed."""


FOLDER = b"$folder"
"""Stands in a transcript for the path of a folder of its own, which has the file `rows.jsonl`."""
ROWS = '{"text": "one two"}\n' * 3


class ProcessHost:
    """Starts a worker, feeds it, and collects its lines."""

    def __init__(self, command: list[str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        (Path(self._folder.name) / "rows.jsonl").write_text(ROWS)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        # Bounded, so that a worker that floods waits for the transcript.
        self._lines: queue.Queue[bytes | None] = queue.Queue(maxsize=1000)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def __enter__(self) -> ProcessHost:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leaving.set()
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._thread.join(SECONDS)
        self._folder.cleanup()

    def write(self, payload: bytes) -> None:
        """Write all of these bytes to the worker."""
        assert self._process.stdin is not None
        view = memoryview(payload.replace(FOLDER, self._folder.name.encode()))
        while view:
            view = view[self._process.stdin.write(view) :]

    def wait_until_read(self) -> None:
        """Wait until the worker has taken all that was written, so that later bytes come apart."""
        assert self._process.stdin is not None
        deadline = time.monotonic() + SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            waiting = fcntl.ioctl(self._process.stdin.fileno(), termios.FIONREAD, bytes(4))
            if not any(waiting):
                return
            time.sleep(0.0002)  # no event tells a writer that its pipe was read

    def close_input(self) -> None:
        """End the worker's stdin."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def read_line(self) -> bytes | None:
        """Return the worker's next line, or None at the end of its output."""
        try:
            line = self._lines.get(timeout=SECONDS)
        except queue.Empty:
            raise AssertionError(f"no line came for {SECONDS} seconds") from None
        if line is None:
            self._lines.put(None)
        return line

    def exit_code(self) -> int:
        """Wait for the worker's end; return its exit code."""
        return self._process.wait(SECONDS)

    def _collect(self) -> None:
        assert self._process.stdout is not None
        with open(self._process.stdout.fileno(), "rb", closefd=False) as lines:
            for line in lines:
                self._put(line)
        self._put(None)
        self._process.stdout.close()

    def _put(self, line: bytes | None) -> None:
        while not self._leaving.is_set():
            try:
                self._lines.put(line, timeout=0.2)
            except queue.Full:
                continue
            return
