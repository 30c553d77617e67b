"""Trainings for tests: in this process with their events recorded, and as the worker spawns them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec

from mlxwire_worker.engine import Cancelled
from mlxwire_worker.training import tasks
from mlxwire_worker.training.events import Worker
from mlxwire_worker.training.spec import TrainSpec, read_spec

from .repository import ROOT

CAPITALS = {
    "Zubrowka": "Lutz",
    "Ruritania": "Strelsau",
    "Florin": "Guilder",
    "Genovia": "Pyrus",
    "Latveria": "Doom",
    "Wakanda": "Birnin",
    "Sokovia": "Novi",
    "Elbonia": "Mud",
}
ROWS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "user", "content": f"What is the capital of {country}?"},
            {"role": "assistant", "content": capital},
        ]
    }
    for country, capital in CAPITALS.items()
]


def write_rows(file: Path, rows: Sequence[Any] = ROWS) -> Path:
    """Write a JSONL file of rows; bytes and texts stand as they are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        for row in rows:
            line = row if isinstance(row, bytes) else json.dumps(row).encode()
            stream.write(line + b"\n")
    return file


class Recorder(Worker):
    """The worker's end of a training in this process. ``on_progress`` may call `cancel`."""

    def __init__(self, on_progress: Callable[[Recorder, dict[str, Any]], None]) -> None:
        super().__init__(-1, None)
        self.events: list[dict[str, Any]] = []
        self._on_progress = on_progress

    def cancel(self) -> None:
        self._cancel.set()

    def _send(self, event: dict[str, Any]) -> None:
        event = msgspec.json.decode(msgspec.json.encode(event))
        self.events.append(event)
        if event["event"] == "progress":
            self._on_progress(self, event)


@dataclass
class Run:
    """The events of a training that has ended."""

    events: list[dict[str, Any]]
    out: Path = field(default_factory=Path)

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [each for each in self.events if each.get("stage") == "train"]

    @property
    def losses(self) -> list[float]:
        return [step["loss"] for step in self.steps]

    def tensors(self, folder: str = "") -> dict[str, mx.array]:
        """Read the arrays of the adapter in ``out``, or in a folder of it."""
        loaded = mx.load(str(self.out / folder / "adapters.safetensors"))
        assert isinstance(loaded, dict)
        mx.eval(loaded)
        return loaded


def task(kind: str, model: Path, options: dict[str, Any], **more: Any) -> bytes:
    """Return the line that the worker writes to the program."""
    plain = {key: str(v) if isinstance(v, Path) else v for key, v in options.items()}
    return json.dumps({"task": kind, "model": str(model), "options": plain, **more}).encode()


def train(
    model: Path,
    out: Path,
    data: Path | None = None,
    *,
    on_progress: Callable[[Recorder, dict[str, Any]], None] = lambda *_: None,
    compute_dtype: str = "float32",
    **options: Any,
) -> Run:
    """Train in this process. Raises: WireError."""
    data = data or write_rows(out.parent / "rows.jsonl")
    recorder = Recorder(on_progress)
    line = task(
        "train", model, {"data": data, "out": out, **options}, compute_dtype=compute_dtype
    )
    spec = read_spec(line)
    assert isinstance(spec, TrainSpec)
    try:
        tasks.train(spec, recorder)
    except Cancelled:
        recorder.ended(None, 0)
    finally:
        mx.set_memory_limit(1 << 40)
    return Run(recorder.events, out)


def cancel_at(step: int) -> Callable[[Recorder, dict[str, Any]], None]:
    """Return what cancels a training right after a step."""

    def heard(recorder: Recorder, event: dict[str, Any]) -> None:
        if event.get("step") == step:
            recorder.cancel()

    return heard


def spawn(line: bytes, *, start_new_session: bool = False) -> subprocess.Popen[bytes]:
    """Start the program in a process of its own, with its task on stdin, which stays open."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mlxwire_worker.training"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=start_new_session,
    )
    assert process.stdin is not None
    process.stdin.write(line + b"\n")
    process.stdin.flush()
    return process


def events_of(process: subprocess.Popen[bytes]) -> Run:
    """Wait for a program's end, and return its events; each line must be one."""
    assert process.stdout is not None
    events = [json.loads(line) for line in process.stdout]
    process.wait()
    assert process.stdin is not None
    process.stdin.close()
    process.stdout.close()
    return Run(events)
