from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.patience import PATIENCE_SECONDS

OPENING = (
    {"id": "h", "cmd": "hello", "protocols": [1]},
    {"id": "l", "cmd": "load", "path": "m"},
)
GENERATE = {"id": "g", "cmd": "generate", "prompt": "one two three"}
LONG = {**GENERATE, "max_tokens": 50000, "ignore_eos": True}


class Played(NamedTuple):
    """The output of a worker for a dialogue, to its end."""

    stdout: bytes
    stderr: bytes
    returncode: int

    def replies(self, request_id: str | None = None) -> list[dict[str, Any]]:
        """Return the worker's messages, or those of one id."""
        messages = [json.loads(line) for line in self.stdout.split(b"\n") if line.strip()]
        return [each for each in messages if request_id in (None, each.get("id"))]

    def kinds(self, request_id: str) -> list[str]:
        """Return the types of one id's replies, progress aside."""
        kinds = [each["type"] for each in self.replies(request_id)]
        return [kind for kind in kinds if kind != "progress"]


Start = Callable[..., "subprocess.Popen[bytes]"]
Play = Callable[..., Played]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Yield a function that starts a worker with faults; every worker is killed at the end."""
    processes = []

    def start_worker(*faults: dict[str, Any], seed: int = 0) -> subprocess.Popen[bytes]:
        script = tmp_path / "faults.json"
        script.write_text(json.dumps({"faults": faults, "seed": seed}))
        command = [sys.executable, "-P", "-m", "mlxwire_worker", "--engine", "mock"]
        process = subprocess.Popen(
            [*command, "--drain-on-eof", "--max-line-bytes", "4096", "--faults", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield start_worker
    for process in processes:
        with process:
            process.kill()


@pytest.fixture
def play(start: Start) -> Play:
    """Return a function that plays requests to a worker with faults, up to its end."""

    def to_the_end(
        *faults: dict[str, Any], requests: list[dict[str, Any]] | None = None, seed: int = 0
    ) -> Played:
        said = [*OPENING, *([GENERATE] if requests is None else requests)]
        process = start(*faults, seed=seed)
        lines = b"".join(json.dumps(each).encode() + b"\n" for each in said)
        stdout, stderr = process.communicate(lines, timeout=PATIENCE_SECONDS)
        return Played(stdout, stderr, process.returncode)

    return to_the_end
