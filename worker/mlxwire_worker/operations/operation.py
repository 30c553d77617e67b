"""The base classes of operations. An operation is the work of one accepted request.

Each lane of the scheduler calls the methods of one base class. A command's file in this folder
holds all that the worker does for the command, on any thread.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from msgspec import Struct

from mlxwire_protocol.commands import Lane, row_of

from ..engine import Engine
from ..requests.failures import failure_of, no_model
from ..requests.job import Job
from ..requests.ledger import Ledger

Beat = Callable[[], None]
"""Called by long work to show that it advances."""


class Operation:
    """The work of one job."""

    __slots__ = ("engine", "job", "ledger")

    def __init__(self, job: Job, engine: Engine, ledger: Ledger) -> None:
        self.job = job
        self.engine = engine
        self.ledger = ledger

    @property
    def lane(self) -> Lane:
        """The lane in which the scheduler serves this operation."""
        return row_of(self.job.command).lane

    @property
    def needs_model(self) -> bool:
        """Return True if this operation fails when no model is loaded."""
        return row_of(self.job.command).needs_model

    def make_ready(self) -> None:
        """Call `prepare`; end the job if it raises. On the reader's or the prepare thread."""
        try:
            if self.needs_model:
                if self.engine.model is None:
                    raise no_model()
                self.engine.check_command(row_of(self.job.command).name)
            self.prepare()
        except Exception as error:
            self.ledger.fail(self.job, failure_of(error))

    def prepare(self) -> None:
        """Do all work that needs no step of the engine.

        In the lanes at_once and prepare this ends the job. Raises: WireError, with which the
        caller ends the job.
        """


class BetweenSteps(Operation, ABC):
    """An operation that runs between two steps of the engine, in a short call."""

    __slots__ = ()

    @abstractmethod
    def answer(self) -> Struct:
        """Return the final reply. On the engine's thread. Raises: WireError."""


class Background(BetweenSteps, ABC):
    """An operation whose work a process of its own does, while all others go on.

    Once its work is done, its `answer` is called between two steps of the engine.
    """

    __slots__ = ()

    @abstractmethod
    def work(self) -> None:
        """Do the work; end the job if there is nothing to answer. On the lane's thread.

        Raises: WireError.
        """

    @abstractmethod
    def stop(self) -> None:
        """End the process at once, because the worker exits. Any thread."""


class Reading(Operation, ABC):
    """An operation that reads model folders on a thread of its own, while all others go on."""

    __slots__ = ()

    @abstractmethod
    def work(self) -> None:
        """Do the work and end the job. On the lane's thread. Raises: WireError."""

    def stop(self) -> None:
        """Do nothing: the thread ends with the worker."""

    def ends_early(self) -> bool:
        """End a job that was cancelled or whose time is up; return True if it has ended."""
        job = self.job
        if job.cancel_requested:
            self.ledger.end_cancelled(job)
        elif job.expired(time.perf_counter()):
            self.ledger.end_expired(job)
        return job.closed


class Alone(Operation, ABC):
    """An operation that runs alone: it waits until no other operation is running."""

    __slots__ = ()

    phase: ClassVar[str] = "load"

    @abstractmethod
    def run(self, beat: Beat) -> Struct:
        """Return the final reply. On the engine's thread. Raises: WireError, Cancelled."""


class OnePass(Operation, ABC):
    """An operation that computes prompts in slices and generates nothing."""

    __slots__ = ()

    phase: ClassVar[str] = "classify"

    @abstractmethod
    def step(self) -> bool:
        """Compute one slice; return True if it completed results. On the engine's thread.

        Raises: any exception of the engine; the caller ends the job with it.
        """

    @property
    @abstractmethod
    def over(self) -> bool:
        """Return True when no slice is left."""
