"""The base of all operations: one object for each accepted request, with what its lane calls.

A command's file in this folder holds all that the worker does for it, on whichever thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from msgspec import Struct

from mlxwire_protocol import WireError
from mlxwire_protocol.commands import Lane, row_of

from ..engine import Engine
from ..requests.failures import internal_error, no_model
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
        """Whether this operation fails without a model."""
        return row_of(self.job.command).needs_model

    def make_ready(self) -> None:
        """Prepare, and end the job if that fails. On the reader's or the prepare thread."""
        try:
            if self.needs_model and self.engine.model is None:
                raise no_model()
            self.prepare()
        except WireError as error:
            self.ledger.fail(self.job, error)
        except Exception as error:
            self.ledger.fail(self.job, internal_error(error))

    def prepare(self) -> None:
        """Do all that needs no step of the engine; in the lanes at_once and prepare, answer.

        Raises: WireError, which the request ends with.
        """


class BetweenSteps(Operation, ABC):
    """An operation that takes the engine for a moment."""

    __slots__ = ()

    @abstractmethod
    def answer(self) -> Struct:
        """Return the final reply. On the engine's thread. Raises: WireError."""


class Alone(Operation, ABC):
    """An operation that nothing else runs beside."""

    __slots__ = ()

    phase: ClassVar[str] = "load"

    @abstractmethod
    def run(self, beat: Beat) -> Struct:
        """Return the final reply. On the engine's thread. Raises: WireError, Cancelled."""


class OnePass(Operation, ABC):
    """An operation that is done in slices of a forward pass."""

    __slots__ = ()

    phase: ClassVar[str] = "classify"

    @abstractmethod
    def step(self) -> bool:
        """Do one slice; return True if results came. On the engine's thread.

        Raises: whatever the engine raises, which the request ends with.
        """

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether no slice is left."""
