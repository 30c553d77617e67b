"""`python -P -m mlxwire_worker.mock.training STEP_SECONDS`: follows a script of losses, for tests.

It reads its task and writes events as the program of real trainings does (`operations/training/events.py`):
the loss of step N is 2 / (N + 1), and the adapter is a small one of zeros.
"""

from __future__ import annotations

import json
import math
import os
import select
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from ..training.checkpoints import FOLDER, numbered

STEPS = 10
"""The steps of a task without `iterations` and `epochs`."""
_KEPT = 2
"""The checkpoints that are kept."""


class Refused(Exception):
    """Raised for data that can't be trained on, with the message for the host."""


class Script:
    """One task, step by step; each takes at least ``step_seconds``."""

    def __init__(self, task: dict[str, Any], step_seconds: float) -> None:
        self._options: dict[str, Any] = task["options"]
        self._training: bool = task["task"] == "train"
        self._step_seconds = step_seconds
        self._began = time.monotonic()

    def run(self) -> None:
        """Do the task, and write its last event."""
        _tell(event="progress", stage="check", done=0, total=1)
        names = ("train.jsonl",) if self._training else ("test.jsonl", "valid.jsonl")
        rows = _rows(Path(self._options["data"]), names)
        _tell(event="progress", stage="check", done=1, total=1)
        if self._training:
            self._train(rows)
        else:
            _tell(
                event="result",
                loss=0.5,
                perplexity=math.exp(0.5),
                tokens=8 * rows,
                rows=rows,
                truncated_rows=0,
                seconds=self._seconds,
            )

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _train(self, rows: int) -> None:
        options, out = self._options, Path(self._options["out"])
        batch = options["batch_size"] * options["gradient_accumulation"]
        total = options["iterations"] or math.ceil(
            (options["epochs"] or STEPS * batch / rows) * rows / batch
        )
        total = max(total, 1)
        checkpoint = _last_checkpoint(out)
        first = checkpoint if options["resume"] else 0
        for step in range(first + 1, total + 1):
            if self._cancelled_within_step():
                _save(out, step - 1)
                path = str(out / FOLDER / str(step - 1)) if step > 1 else None
                _tell(event="cancelled", checkpoint=path, step=step - 1)
                return
            if options["save_every"] and step % options["save_every"] == 0:
                _save(out, step)
            self._report(step, total)
        _write_adapter(out)
        _tell(
            event="result",
            adapter=str(out),
            method=options["method"],
            format=options["format"],
            first_loss=_loss(first + 1),
            last_loss=_loss(total),
            validation_loss=None,
            steps=total,
            tokens=8 * batch * total,
            rows=rows,
            truncated_rows=0,
            seconds=self._seconds,
            peak_memory_bytes=0,
        )

    def _report(self, step: int, total: int) -> None:
        every = self._options["evaluate_every"]
        validates = self._options["validation"] is not None and every and step % every == 0
        seconds = self._seconds
        tokens = 8 * self._options["batch_size"] * step
        _tell(
            event="progress",
            stage="train",
            done=step,
            total=total,
            step=step,
            loss=_loss(step),
            validation_loss=_loss(step) if validates else None,
            learning_rate=self._options["learning_rate"],
            tokens=tokens,
            seconds=seconds,
            tokens_per_second=tokens / max(seconds, 1e-6),
            peak_memory_bytes=0,
            seconds_left=seconds / step * (total - step),
        )

    def _cancelled_within_step(self) -> bool:
        """Wait for a step's time; return True if the worker cancels; exit if it has ended."""
        if not select.select([0], [], [], self._step_seconds)[0]:
            return False
        if not os.read(0, 64):
            os._exit(0)
        return True


def _loss(step: int) -> float:
    return 2 / (step + 1)


def _rows(data: Path, names: tuple[str, ...]) -> int:
    """Return how many rows a file has, or one of these names in a folder.

    Raises: Refused for the first bad one.
    """
    if data.is_dir():
        present = [data / name for name in names if (data / name).is_file()]
        if not present:
            raise Refused(f"the folder has no {' and no '.join(names)}; name the file itself")
        data = present[0]
    rows = 0
    for number, line in enumerate(data.read_bytes().splitlines(), 1):
        try:
            known = json.loads(line).keys() & {"messages", "prompt", "text"}
        except (ValueError, AttributeError):
            known = set()
        if not known:
            raise Refused(
                f"line {number} of {data.name} has no `messages`, `prompt` or `text`; correct it"
            )
        rows += 1
    if not rows:
        raise Refused("the data has no rows; give a file with some")
    return rows


def _last_checkpoint(out: Path) -> int:
    found = numbered(out)
    return int(found[-1].name) if found else 0


def _save(out: Path, step: int) -> None:
    """Write a checkpoint, and drop all but the last ones."""
    if not step:
        return
    folder = out / FOLDER
    partial = folder / f".partial-{step}"
    _write_adapter(partial)
    if not (folder / str(step)).exists():
        partial.rename(folder / str(step))
    for old in numbered(out)[:-_KEPT]:
        for file in old.iterdir():
            file.unlink()
        old.rmdir()


def _write_adapter(folder: Path) -> None:
    """Write an adapter in mlx-lm's format: one pair of matrices of zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 1}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    names = ("model.layers.0.self_attn.q_proj.lora_a", "model.layers.0.self_attn.q_proj.lora_b")
    shapes = ([4, 1], [1, 4])
    header = {
        name: {"dtype": "F32", "shape": shape, "data_offsets": [16 * place, 16 * (place + 1)]}
        for place, (name, shape) in enumerate(zip(names, shapes, strict=True))
    }
    encoded = json.dumps(header).encode()
    content = len(encoded).to_bytes(8, "little") + encoded + bytes(32)
    partial = folder / ".adapters.partial"
    partial.write_bytes(content)
    partial.rename(folder / "adapters.safetensors")


def _tell(**event: Any) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


def main() -> NoReturn:
    """Read a task from stdin, do it, and exit."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 1)  # no more than the line: what follows is a cancel
        if not chunk:
            os._exit(0)
        line += chunk
    try:
        Script(json.loads(line), float(sys.argv[1])).run()
    except Refused as refused:
        _tell(
            event="error",
            code="invalid_params",
            message=str(refused),
            data={"field": "data"},
        )
    except OSError as error:
        message = f"the result can't be written ({error.strerror}); give another folder"
        _tell(event="error", code="unavailable", message=message, data={})
    sys.exit(0)


if __name__ == "__main__":
    main()
