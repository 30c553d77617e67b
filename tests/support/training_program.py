"""A program of trainings that misbehaves in one named way.

python tests/support/training_program.py BEHAVIOUR     a function of this file
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

SECRET = "a row that nobody may read"
REPORT: dict[str, Any] = {
    "event": "progress", "stage": "train", "done": 1, "total": 9, "step": 1, "loss": 2.5,
    "validation_loss": None, "learning_rate": 0.5, "tokens": 8, "seconds": 0.5,
    "tokens_per_second": 16.0, "peak_memory_bytes": 64, "seconds_left": 4.0,
}  # fmt: skip
RESULT: dict[str, Any] = {
    "event": "result", "adapter": "a", "method": "lora", "format": "mlx", "first_loss": 2.5,
    "last_loss": 0.5, "validation_loss": None, "steps": 9, "tokens": 8, "rows": 1,
    "truncated_rows": 0, "seconds": 0.5, "peak_memory_bytes": 64,
}  # fmt: skip


def tell(**event: Any) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


def complain() -> None:
    """Write to stderr what quotes the data, and what does not."""
    os.write(
        2,
        f'Traceback (most recent call last):\n  File "data.py", line 7, in rows\n    rows = {SECRET}\n'
        f"ValueError: {SECRET}\n{SECRET}\n".encode(),
    )


def segfault(task: dict[str, Any]) -> None:
    checkpoint(task, 4)
    complain()
    die_by(signal.SIGSEGV)


def killed(_: dict[str, Any]) -> None:
    die_by(signal.SIGKILL)


def ends(_: dict[str, Any]) -> None:
    complain()
    os._exit(7)


def garbage(_: dict[str, Any]) -> None:
    os.write(1, b"Loading weights: 100%\n")
    signal.pause()


def endless_line(_: dict[str, Any]) -> None:
    while True:
        os.write(1, b"x" * 65536)


def wrong_result(_: dict[str, Any]) -> None:
    tell(**(RESULT | {"steps": "nine"}))


def wrong_progress(_: dict[str, Any]) -> None:
    tell(**(REPORT | {"loss": "much"}))


def two_results(_: dict[str, Any]) -> None:
    tell(**RESULT)
    tell(**RESULT)


def cancels_itself(_: dict[str, Any]) -> None:
    tell(event="cancelled", checkpoint=None, step=0)


def own_error(_: dict[str, Any]) -> None:
    tell(event="error", code="invalid_params", message="line 3; mend it", data={"line": 3})


def storm(_: dict[str, Any]) -> None:
    for step in range(1, 5001):
        validation = 0.25 if step == 2 else None
        tell(**(REPORT | {"done": step, "step": step, "total": 5000, "loss": float(step)}
                | {"validation_loss": validation}))  # fmt: skip
    tell(**RESULT)


def lingers(_: dict[str, Any]) -> None:
    tell(**RESULT)
    signal.pause()


def waits(task: dict[str, Any]) -> None:
    """Have a result once there is a file of the name of the folder `out` and `.go`."""
    tell(**REPORT)
    while not Path(task["options"]["out"] + ".go").exists():
        time.sleep(0.01)
    tell(**(RESULT | {"adapter": task["options"]["out"]}))


def deaf(task: dict[str, Any]) -> None:
    checkpoint(task, 4)
    checkpoint(task, 12)
    tell(**REPORT)
    signal.pause()


def saves(task: dict[str, Any]) -> None:
    """Save a checkpoint when it is told to."""
    tell(**REPORT)
    assert sys.stdin.buffer.readline() == b"cancel\n"
    path = checkpoint(task, 5)
    tell(event="cancelled", checkpoint=path, step=5)


def echo(task: dict[str, Any]) -> None:
    """Tell the task as an error's data."""
    told = {"task": task, "secret": os.environ.get("PASSWORD"), "path": "PATH" in os.environ}
    tell(event="error", code="training_failed", message="x", data=told)


def noisy(_: dict[str, Any]) -> None:
    """Write more to stderr than a pipe holds."""
    for _ in range(64):
        os.write(2, b"x" * 65536)
    tell(**RESULT)


def checkpoint(task: dict[str, Any], step: int) -> str:
    folder = Path(task["options"]["out"]) / "checkpoints" / str(step)
    folder.mkdir(parents=True)
    return str(folder)


def die_by(number: signal.Signals) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    task = json.loads(sys.stdin.buffer.readline())
    globals()[sys.argv[1]](task)
