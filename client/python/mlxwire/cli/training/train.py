"""Run one training: show its loss as it falls, let Ctrl-C save it, and plot it at the end."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlxwire_protocol.replies import Progress
from mlxwire_protocol.training.replies import TrainProgress, TrainResult

from ...errors import RequestCancelled
from ...model import Model
from ..answer import interrupts
from ..arguments import Start
from ..exits import report
from ..launch import launch_worker, load_model
from ..terminal import ProgressBar, print_json, print_table, say
from .loss_plot import Losses
from .options import Learning, Reading

LOG_SECONDS = 10.0
"""The time between two lines about the loss, where stderr is no terminal."""
ENVELOPE = ("id", "final", "ok")


async def train_once(
    start: Start, data: str, out: str, reading: Reading, learning: Learning, *, json: bool
) -> None:
    """Start a worker for one training, and close it.

    Raises: KeyboardInterrupt after a training that Ctrl-C cancelled, and MlxwireError.
    """
    worker = await launch_worker(start)
    try:
        model = await load_model(worker, start, warmup=False)
        options = {**reading.reading(), **learning.learning()}
        await _train(model, start, data, out, options, json=json)
    finally:
        await worker.close()


async def _train(
    model: Model, start: Start, data: str, out: str, options: Any, *, json: bool
) -> None:
    losses = Losses()
    cancels: list[asyncio.Task[str | None]] = []
    with TrainingBar(quiet=start.quiet) as bar:
        training = model.train(data, out=out, on_progress=bar, **options)

        def cancel() -> None:
            if not cancels:
                say("\nending this step, and saving a checkpoint", "dim")
            cancels.append(asyncio.ensure_future(training.cancel()))

        with interrupts(cancel) as presses:
            try:
                async with training:
                    async for step in training:
                        losses.add(step)
                        if json:
                            print_json(_plain(step))
                    result = await training.result()
            except RequestCancelled as error:
                bar.close()
                if not presses:
                    raise
                if json:
                    report(error, json=True)
                _write_plot(losses, out)
                say(advice(training.checkpoint, sys.argv))
                raise KeyboardInterrupt from None
            finally:
                await asyncio.gather(*cancels, return_exceptions=True)
    plots = _write_plot(losses, out)
    if json:
        print_json(_plain(result))
    else:
        print_table({**facts(result), **({"plot": ", ".join(plots)} if plots else {})})


def facts(result: TrainResult) -> dict[str, object]:
    """Return the lines about a result, for people."""
    cut_off = f", {result.truncated_rows} cut off" if result.truncated_rows else ""
    lines: dict[str, object] = {
        "adapter": result.adapter,
        "trained": f"{result.method}, {result.steps} steps, {result.rows} rows{cut_off}",
        "loss": f"{result.first_loss:.4f} at first, {result.last_loss:.4f} at last",
        "tokens": f"{result.tokens} in {result.seconds:.1f} s",
        "peak memory": f"{result.peak_memory_bytes / 2**20:.0f} MiB",
    }
    if result.validation_loss is not None:
        lines["validation"] = f"{result.validation_loss:.4f}"
    return lines


def advice(checkpoint: str | None, command: list[str]) -> str:
    """Return what to do after Ctrl-C: the command that goes on from the checkpoint."""
    if checkpoint is None:
        return "the training was interrupted before its first checkpoint"
    words = [Path(command[0]).name, *command[1:]]
    if "--resume" not in words:
        words.append("--resume")
    return f"the training was interrupted and its state is in {checkpoint}. To go on:\n{shlex.join(words)}"


class TrainingBar(ProgressBar):
    """The bar of a training, with its loss; lines from time to time if stderr is no terminal."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._logs = not quiet and not sys.stderr.isatty()
        self._logged = 0.0

    def __call__(self, report: Progress) -> None:
        """Show a report of progress."""
        super().__call__(report)
        if not self._logs or not isinstance(report, TrainProgress):
            return
        due = report.seconds - self._logged >= LOG_SECONDS
        if due or report.done >= report.total or report.validation_loss is not None:
            self._logged = report.seconds
            say(f"step {report.step} of {report.total:g}: {in_words(report)}")

    def description(self, report: Progress) -> str:
        """Return the words before the bar."""
        if isinstance(report, TrainProgress):
            return in_words(report)
        return super().description(report)


def in_words(step: TrainProgress) -> str:
    """Return a line about a step: ``loss 1.2345 · 812 tokens/s · 5 s left``."""
    parts = [f"loss {step.loss:.4f}"]
    if step.validation_loss is not None:
        parts.append(f"validation {step.validation_loss:.4f}")
    parts.append(f"{step.tokens_per_second:.0f} tokens/s")
    return " · ".join([*parts, f"{step.seconds_left:.0f} s left"])


def _plain(reply: Progress | TrainResult) -> Mapping[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(reply)
    return {name: value for name, value in fields.items() if name not in ENVELOPE}


def _write_plot(losses: Losses, out: str) -> list[str]:
    try:
        return [str(path) for path in losses.write(Path(out))]
    except OSError as error:
        say(f"the plot of the loss could not be written: {error.strerror or error}")
        return []
