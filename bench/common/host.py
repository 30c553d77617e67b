"""A host of a few lines for the benchmarks: it writes a line and reads lines."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


class Host:
    """A worker, with a model loaded unless that is None, and the pipes to it."""

    def __init__(self, model: str | None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mlxwire_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.count = 0
        self.ask("hello", protocols=[1])
        if model is not None:
            self.ask("load", path=model)

    def send(self, cmd: str, **fields: Any) -> str:
        assert self.process.stdin is not None
        self.count += 1
        line = json.dumps({"id": f"{cmd}{self.count}", "cmd": cmd, **fields})
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return f"{cmd}{self.count}"

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        message: dict[str, Any] = json.loads(self.process.stdout.readline())
        return message

    def final(self, name: str) -> dict[str, Any]:
        while True:
            message = self.read()
            if message["id"] == name and message.get("final"):
                return message

    def ask(self, cmd: str, **fields: Any) -> dict[str, Any]:
        return self.final(self.send(cmd, **fields))
