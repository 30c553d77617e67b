"""Runs one task in a program of its own, and ends the request with the outcome.

Theory of operation. The lane's thread calls `work`: it starts the program with its task, and looks at
its events, at the job and at its end by turns, at least every ``LOOK_SECONDS``. The program's events are
listed in `events`. What ends the task:

- its result: `answer` converts it to the final reply, on the engine's thread.
- its error: the job ends with it.
- a cancel or the deadline: the program is told, saves a checkpoint within ``SAVE_SECONDS``, and tells its
  place. A result that came first counts.
- its death, or a line that is no event: the job ends with ``training_failed``, which names the signal, the
  last whole checkpoint, and the last lines of stderr that can't quote data. The worker lives on.
- the exit of the worker: `stop` kills the program; a worker that dies takes it along (`process.child.tied`).

Invariants. No program outlives `work`. A checkpoint is a folder that is named by its step once it is
whole, so the last one can be named whatever has happened to the program.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from mlxwire_protocol import WireError
from mlxwire_protocol.messages import Command
from mlxwire_protocol.replies import Progress
from mlxwire_protocol.results import ModelInfo
from mlxwire_protocol.training.replies import TrainProgress

from ...process.child.program import BadLine, Program
from ...process.stdio import log
from ...requests.failures import no_model
from ...requests.job import Job, Saved
from ...requests.surroundings import lacking
from ...training.checkpoints import numbered
from ..operation import Background
from . import events
from .progress import ProgressFlow

C = TypeVar("C", bound=Command)

LOOK_SECONDS = 0.05
"""The most time between two looks at the job; a cancel is heard that late."""
SAVE_SECONDS = 100.0
"""The time for a program to end its step and to save a checkpoint."""
END_SECONDS = 10.0
"""The time for a program to exit after its last event."""
KEPT_FROM_PROGRAM = ("id", "deadline_seconds", "adapter")
"""Fields of a request that are no options of the program."""


class ChildTask(Background):
    """An operation whose work a program does; ``task`` is the program's name for it."""

    __slots__ = ("_asked_at", "_flow", "_last", "_program", "_specification", "model")

    task: str
    doing: str
    """The work of the program, as messages name it: `the training`."""
    model: ModelInfo
    _specification: dict[str, Any]
    _program: Program | None
    _last: dict[str, Any] | None
    _asked_at: float | None

    def begin(self, model: ModelInfo, adapter: str | None, **paths: str | None) -> None:
        """Note the task: the request's options, with its ``paths`` resolved."""
        self.model = model
        self._specification = {
            "task": self.task,
            "model": model.path,
            "adapter": adapter,
            "compute_dtype": _dtype_of(model),
            "options": {**options_of(self.job.command), **paths},
        }
        self._program = None
        self._last = None
        self._asked_at = None
        self._flow = ProgressFlow(lambda progress: self.ledger.send(self.job, progress))

    @property
    def out(self) -> Path | None:
        """Return the folder in which the program keeps checkpoints; None if it keeps none."""
        return None

    @abstractmethod
    def reply(self, result: dict[str, Any]) -> Struct:
        """Convert the program's result. Raises: events.NoEvent."""

    @abstractmethod
    def finish(self, reply: Struct) -> Struct:
        """Do what is left once the program has ended. On the engine's thread. Raises: WireError."""

    def work(self) -> None:
        """Run the program to its end."""
        if self._asked_to_end():
            self._end_asked(Saved(None, 0))
            return
        task = msgspec.json.encode(self._specification)
        try:
            self._program = program = Program(self.engine.training_site.command, task)
        except (OSError, MemoryError) as error:
            raise lacking(error, f"{self.doing} can't be started") or WireError(
                "unavailable",
                f"{self.doing} can't be started ({error}); send the request again",
            ) from None
        try:
            self._watch(program)
        except (events.NoEvent, BadLine):
            program.kill()
            raise self._failed("its process wrote a line that is no event", program) from None
        finally:
            self._program = None
            program.close()
        self._flow.flush()
        self._settle(program)

    def answer(self) -> Struct:
        """Return the final reply of a task that has a result."""
        assert self._last is not None
        return self.finish(self.reply(self._last))

    def stop(self) -> None:
        """Kill the program, because the worker exits."""
        program = self._program
        if program is not None:
            program.kill()

    # -- the program's events --------------------------------------------------------------

    def _watch(self, program: Program) -> None:
        """Take events until the program has ended, and make it end when the time has come."""
        ended_at: float | None = None
        while program.exit_code is None:
            self._take(program.wait(LOOK_SECONDS))
            self._flow.flush_due()
            now = time.perf_counter()
            if self._last is not None:
                ended_at = ended_at or now
            elif self._asked_at is None and self._asked_to_end():
                self._asked_at = now
                program.cancel()
            if (self._asked_at is not None and now - self._asked_at > SAVE_SECONDS) or (
                ended_at is not None and now - ended_at > END_SECONDS
            ):
                program.kill()
        self._take(program.rest())

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            event = events.read_event(line)
            if self._last is not None:
                raise events.NoEvent
            if events.is_final(event):
                self._check(event)
                self._last = event
            else:
                trains = event.get("stage") == "train" and self.task == "train"
                kind = TrainProgress if trains else Progress
                self._flow.take(events.as_reply(event, kind, self.job.id))

    def _check(self, event: dict[str, Any]) -> None:
        """Refuse a last event whose fields are wrong. Raises: events.NoEvent."""
        match event["event"]:
            case "result":
                self.reply(event)
            case "error":
                events.as_error(event)
            case "cancelled":
                events.as_cancelled(event)

    # -- the end ---------------------------------------------------------------------------

    def _settle(self, program: Program) -> None:
        """End the job, unless the task has a result to answer with. Raises: WireError."""
        last = self._last
        if last is not None and last["event"] == "result":
            return
        if last is not None and last["event"] == "error":
            raise events.as_error(last)
        if self._asked_at is not None:
            told = None if last is None else events.as_cancelled(last)
            self._end_asked(
                last_checkpoint(self.out) if told is None else Saved(told.checkpoint, told.step)
            )
            return
        if last is not None:
            raise self._failed("its process ended as if it had been cancelled", program)
        if (name := program.signal_name()) is None:
            raise self._failed(
                f"its process ended with exit code {program.exit_code} and no result", program
            )
        why = ", which most likely means that memory was full" if name == "SIGKILL" else ""
        raise self._failed(f"its process was ended by {name}{why}", program, signal=name)

    def _asked_to_end(self) -> bool:
        job = self.job
        return job.closed or job.cancel_requested or job.expired(time.perf_counter())

    def _end_asked(self, saved: Saved) -> None:
        if self.job.cancel_requested or not self.job.expired(time.perf_counter()):
            self.end_cancelled(saved)
        else:
            self.end_expired(saved)

    def end_cancelled(self, saved: Saved) -> None:
        """End a cancelled job."""
        self.ledger.end_cancelled(self.job)

    def end_expired(self, saved: Saved) -> None:
        """End a job whose deadline has passed."""
        self.ledger.end_expired(self.job)

    def _failed(self, what: str, program: Program, **data: Any) -> WireError:
        log(f"{self.doing} failed: {what}")
        saved = last_checkpoint(self.out)
        data["stderr"] = program.stderr_lines.last()
        remedy = "try again with a smaller `batch_size` or `max_sequence`"
        if self.out is not None:
            data["checkpoint"] = saved.checkpoint
            remedy += ", or with `gradient_checkpointing`"
        if saved.checkpoint is not None:
            remedy += f"; with `resume` it goes on from step {saved.step} ({saved.checkpoint})"
        return WireError("training_failed", f"{self.doing} failed: {what}; {remedy}", data=data)


def options_of(request: Command) -> dict[str, Any]:
    """Return the options of a request that the program takes."""
    fields = msgspec.structs.asdict(request)
    return {name: value for name, value in fields.items() if name not in KEPT_FROM_PROGRAM}


def loaded_model(model: ModelInfo | None) -> ModelInfo:
    """Return the model that a task is about. Raises: WireError ``model_not_loaded``."""
    if model is None:
        raise no_model()
    return model


def _dtype_of(model: ModelInfo) -> str:
    """Return the `compute_dtype` with which a program holds the model as the worker does.

    Quantized weights take less than 2 bytes a parameter, and are to stay so.
    """
    if model.quant_bits and model.weight_bytes < 2 * model.parameters:
        return "stored"
    return model.compute_dtype


def last_checkpoint(out: Path | None) -> Saved:
    """Return the last whole checkpoint in ``out``."""
    try:
        found = [] if out is None else [path for path in numbered(out) if path.is_dir()]
    except OSError:
        found = []
    return Saved(str(found[-1]), int(found[-1].name)) if found else Saved(None, 0)


def command_of(job: Job, kind: type[C]) -> C:
    """Return a job's request as the type that it has."""
    assert isinstance(job.command, kind)
    return job.command
