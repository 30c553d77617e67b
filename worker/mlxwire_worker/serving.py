"""The worker after its handshake: creates its parts, serves, and ends (SPEC §9)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import NoReturn

from mlxwire_protocol.connection import WorkerConnection
from mlxwire_protocol.events import Event

from .engine import Engine
from .process.options import Options
from .process.patience import Patience
from .process.reader import Reader, exit_if_abandoned
from .process.writer import Writer
from .requests.conversation import Conversation
from .scheduling.heartbeat import Heartbeat
from .scheduling.inbox import Inbox
from .scheduling.scheduler import Scheduler

EXIT_OK = 0
FINALS_SECONDS = 0.8
"""Seconds for the engine to end cancelled requests; after them they end without it."""
SAVING_SECONDS = 2.0
"""Seconds after `quit` for a training to end its step and to save a checkpoint."""
LAST_LINES_SECONDS = 0.7
"""Seconds for the last lines to reach a host that has closed stdin without `quit`."""


class Serving:
    """The session of one host with one engine.

    ``subscribed`` are the events that `hello` named; None without a `hello` (dialect 0).
    """

    def __init__(
        self,
        options: Options,
        connection: WorkerConnection,
        reader: Reader,
        writer: Writer,
        inbox: Inbox,
        patience: Patience,
        subscribed: frozenset[str] | None,
    ) -> None:
        self._options = options
        self._reader = reader
        self._writer = writer
        self._patience = patience
        self._inbox = inbox
        self._greeted = subscribed is not None
        self._engine = make_engine(options)
        self._conversation = Conversation(
            connection, writer, self._engine, inbox, subscribed or frozenset()
        )
        self._scheduler = Scheduler(
            self._engine, self._conversation.ledger, inbox, writer.has_room
        )
        self._heart = Heartbeat(
            self._conversation, self._scheduler.pulse, options.heartbeat_seconds
        )

    def run(self, first: Iterable[Event], *, ended: bool) -> NoReturn:
        """Serve until the host quits, closes a pipe or dies.

        ``first`` are the bytes after `hello` that were already read; ``ended`` is True if stdin
        ended after them.
        """
        self._scheduler.start()
        if self._greeted:
            self._inbox.preload()
        self._conversation.follow(first)
        if ended:
            self._end_of_input()
        while not self._conversation.quitting:
            sign = self._reader.wait()
            self._heart.beat_if_due()
            if sign == "data" and (chunk := self._reader.read()):
                self._conversation.receive(chunk)
            elif sign in ("data", "end"):
                self._conversation.receive_end()
                self._end_of_input()
            elif sign == "hung_up":
                self._patience.check()
            else:
                exit_if_abandoned(sign)
        self._exit(reading=True)

    def _end_of_input(self) -> NoReturn:
        self._reader.ignore_input()
        if self._options.drain_on_eof:
            self._conversation.ledger.open_windows()
        while self._options.drain_on_eof and not self._conversation.idle:
            exit_if_abandoned(self._reader.wait(read=False, timeout=0.01))
            self._patience.check()
        self._exit(reading=False)

    def _exit(self, *, reading: bool) -> NoReturn:
        """Send all final replies, then the answer to `quit`, and exit when they are written.

        A host that has closed stdin without `quit` is most likely gone: it gets two seconds in all.
        ``reading`` is True if the host may still send requests, which are refused.
        """
        self._conversation.cancel_all()
        self._await_finals(reading)
        self._conversation.finish()
        patient = self._conversation.quitting or self._options.drain_on_eof
        deadline = time.monotonic() + LAST_LINES_SECONDS
        while not self._writer.flush(0.02):
            exit_if_abandoned(self._reader.wait(read=False, timeout=0.0))
            if patient:
                self._patience.check()
            elif time.monotonic() > deadline:
                break
        self._scheduler.background.stop()
        self._engine.close()
        # Not sys.exit: Python's shutdown would wait for the engine's thread, or abort in it.
        os._exit(EXIT_OK)

    def _await_finals(self, reading: bool) -> None:
        """Wait until the engine has ended all requests, and refuse those that come meanwhile."""
        saving = self._conversation.quitting and self._scheduler.background.busy
        deadline = time.monotonic() + (SAVING_SECONDS if saving else FINALS_SECONDS)
        while time.monotonic() < deadline:
            idle = self._conversation.idle
            sign = self._reader.wait(read=reading, timeout=0.0 if idle else 0.002)
            if sign == "data" and (chunk := self._reader.read()):
                self._conversation.receive(chunk)
            elif sign in ("data", "end"):
                self._conversation.receive_end()
                self._reader.ignore_input()
                reading = False
            elif idle:
                return
            else:
                exit_if_abandoned(sign)


def make_engine(options: Options) -> Engine:
    """Make the engine that the command line named; `preload` does its heavy imports later."""
    if options.engine == "mock":
        from .mock.engine import MockEngine

        return MockEngine(options.mock_step_seconds, options.data_roots)
    from .mlx_engine import MlxEngine

    return MlxEngine(
        model_roots=options.model_roots,
        data_roots=options.data_roots,
        allow_hub=options.allow_hub,
    )
