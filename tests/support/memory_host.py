"""A host and a worker's core in one process: connection, session and scheduler, no descriptors."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import cast

from mlxwire_protocol import WorkerConnection
from mlxwire_protocol.results import Limits, WorkerIdentity
from mlxwire_worker.engine import Engine
from mlxwire_worker.process.writer import Writer
from mlxwire_worker.requests.conversation import Conversation as Session
from mlxwire_worker.scheduling.inbox import Inbox
from mlxwire_worker.scheduling.scheduler import Scheduler

from .conversation import Conversation
from .patience import PATIENCE_SECONDS


class MemoryWriter:
    """Takes the lines that a pipe would get. ``full`` is a test's to change."""

    def __init__(self) -> None:
        self.lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.full = False

    def has_room(self) -> bool:
        return not self.full

    def cork(self) -> None:
        """Do nothing: no line is held back here."""

    def uncork(self) -> None:
        """Do nothing."""

    def put(self, line: bytes) -> None:
        for part in line.split(b"\n")[:-1]:
            self.lines.put(part)


class MemoryHost(Conversation):
    """Speaks with the worker's core over an engine."""

    def __init__(self, engine: Engine, *, max_inflight: int = 4096) -> None:
        super().__init__()
        connection = WorkerConnection(
            WorkerIdentity(name="mlxwire-worker", version="0", pid=1, engine=engine.name),
            limits=Limits(max_line_bytes=1 << 20, max_inflight=max_inflight),
            capabilities={},
        )
        self.writer = MemoryWriter()
        self.inbox = Inbox()
        self.session = Session(connection, cast(Writer, self.writer), engine, self.inbox)
        self._scheduler = Scheduler(
            engine, self.session.ledger, self.inbox, self.writer.has_room
        )
        self._scheduler.start()

    def write(self, line: bytes) -> None:
        self.session.receive(line)

    def read_line(self, timeout: float) -> bytes:
        try:
            return self.writer.lines.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no line in {timeout:.1f} s") from None

    def wait_until_prepared(self) -> None:
        """Wait until every request that was sent waits only for its turn."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.inbox.waiting():
            assert time.monotonic() < deadline, "the prepare thread does not come to an end"
            time.sleep(0.001)

    def exit(self) -> None:
        """End the programs of trainings, as a worker does just before it exits."""
        self._scheduler.background.stop()

    def make_room(self) -> None:
        """Read again."""
        self.writer.full = False
        self.wake()

    def wake(self) -> None:
        """Let the engine's thread look at its requests and its clock."""
        self.inbox.wake()

    def no_more(self) -> bool:
        """Return True if every line has been taken."""
        return self.writer.lines.empty()


Connect = Callable[..., MemoryHost]
"""The fixture `connect` of tests/worker."""
