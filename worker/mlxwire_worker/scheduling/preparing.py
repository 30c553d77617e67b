"""Makes requests ready off the engine's thread, so that a long prompt stalls nobody.

In order of arrival; behind a `load` or `unload` it waits, since the next request needs the
model that will then be there.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from mlxwire_protocol import WireError
from mlxwire_protocol.messages import (
    Batch,
    Cache,
    Chat,
    Classify,
    Generate,
    Info,
    Load,
    Memory,
    Unload,
)

from ..engine import BatchPrompts, Engine
from ..requests.failures import internal_error, no_model
from ..requests.job import Job
from ..requests.session import Session


class Preparing:
    """Owns the prepare thread."""

    def __init__(self, engine: Engine, session: Session, take: Callable[[Job], None]) -> None:
        self._engine = engine
        self._session = session
        self._take = take
        self._condition = threading.Condition()
        self._arrived: deque[Job] = deque()
        self._current: Job | None = None
        self._model_changes = False

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="prepare", daemon=True).start()

    def submit(self, job: Job) -> None:
        """Queue a job. Any thread."""
        with self._condition:
            self._arrived.append(job)
            self._condition.notify_all()

    def waiting(self) -> list[Job]:
        """Jobs that are not prepared yet, the one that is being prepared among them."""
        with self._condition:
            current = [self._current] if self._current is not None else []
            return [*current, *self._arrived]

    def release(self) -> None:
        """The model that the last barrier asked for is there, or is not to be."""
        with self._condition:
            self._model_changes = False
            self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._arrived and not self._model_changes)
                job = self._current = self._arrived.popleft()
                self._model_changes = isinstance(job.command, Load | Unload)
            if self._model_changes or (not job.ended and self._prepare(job)):
                self._take(job)
            self._current = None

    def _prepare(self, job: Job) -> bool:
        """Make a job ready for the engine; false if that ended it."""
        command = job.command
        try:
            if isinstance(command, Info):
                self._session.end_info(job)
            elif self._session.model is None and not isinstance(command, Memory):
                raise no_model()
            elif isinstance(command, Classify):
                job.prepared = self._engine.prepare_classify(command)
                job.prompt_tokens = sum(map(len, job.prepared.prompts))
            elif isinstance(command, Batch):
                job.prepared = self._prepare_batch(job, command)
                job.prompt_tokens = job.prepared.prompt_tokens
                job.parts_left = len(command.prompts)
            elif (isinstance(command, Cache) and command.action == "warm") or isinstance(
                command, Generate | Chat
            ):
                job.prepared = self._engine.prepare(command)
                job.prompt_tokens = len(job.prepared.ids)
        except WireError as error:
            self._session.fail(job, error)
        except Exception as error:
            self._session.fail(job, internal_error(error))
        return not job.ended

    def _prepare_batch(self, job: Job, command: Batch) -> BatchPrompts:
        """Every prompt by itself: one that is too long is its own item's error.

        Raises: WireError where an option is wrong, which is the whole request's.
        """
        prompts = BatchPrompts()
        for index in range(len(command.prompts)):
            if job.ended:
                break  # cancelled, or past its deadline: nobody waits for the rest
            try:
                prompts.add(self._engine.prepare(command, index))
            except WireError as error:
                if error.code == "invalid_params" and error.field != f"prompts[{index}]":
                    raise
                prompts.add(error)
        return prompts
