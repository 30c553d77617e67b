"""`proxy.py RECORD COMMAND…`: stands in for the worker, copies both ways and records each line.

A client that starts it finds the worker's pipes, exit code and signals behind it. The record is a
JSON object a line: `{"pid": …}` first, then `{"from": "host"|"worker", "line": …}` in the order in
which the lines passed; bytes that are no UTF-8 are escaped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import BinaryIO

READ_BYTES = 1 << 16
EXIT_UNKNOWN = 1


class Recorder:
    """One file, written by the two directions."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 (until the process ends)
        self._lock = threading.Lock()
        self._write({"pid": os.getpid()})

    def line(self, source: str, line: bytes) -> None:
        self._write({"from": source, "line": line.decode("utf-8", "backslashreplace")})

    def _write(self, entry: dict[str, object]) -> None:
        with self._lock:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()


def copy(source: int, target: BinaryIO, name: str, recorder: Recorder) -> None:
    """Copy until the end of either side; each line is recorded before its last byte passes."""
    partial = b""
    try:
        while chunk := os.read(source, READ_BYTES):
            *lines, partial = (partial + chunk).split(b"\n")
            for line in lines:
                recorder.line(name, line)
            view = memoryview(chunk)
            while view:
                view = view[target.write(view) :]
    except OSError:
        pass  # the other side is gone; its end is told below
    if partial:
        recorder.line(name, partial)


def main() -> None:
    recorder = Recorder(sys.argv[1])
    worker = subprocess.Popen(
        sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    stdin, stdout = worker.stdin, open(1, "wb", buffering=0)  # noqa: SIM115

    def to_worker() -> None:
        copy(0, stdin, "host", recorder)
        stdin.close()

    threading.Thread(target=to_worker, daemon=True).start()
    copy(worker.stdout.fileno(), stdout, "worker", recorder)
    code = worker.wait()
    os._exit(code if code >= 0 else EXIT_UNKNOWN)


if __name__ == "__main__":
    main()
