"""The worker before its handshake, which it answers before it imports its other modules."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NoReturn

from mlxwire_protocol.commands import EngineName, capabilities
from mlxwire_protocol.connection import WorkerConnection
from mlxwire_protocol.events import Accepted, Answer, Event, Greeted
from mlxwire_protocol.results import Limits, WorkerIdentity

from . import __version__
from .process.options import Options
from .process.parent import ParentWatch
from .process.patience import Patience
from .process.reader import EXIT_STDOUT_BROKEN, Reader, exit_if_abandoned
from .process.stdio import log
from .process.writer import Writer, own_description
from .scheduling.inbox import Inbox


def _end_with_thread(failed: threading.ExceptHookArgs) -> None:
    """Exit 1: with a thread less, the worker would leave requests without an end."""
    log(f"the thread {failed.thread and failed.thread.name} ended: {failed.exc_type.__name__}")
    os._exit(1)


class Worker:
    """The worker of this process, on the two descriptors of the wire."""

    def __init__(
        self, options: Options, wire_in: int, wire_out: int, parent: ParentWatch
    ) -> None:
        self._options = options
        engine: EngineName = "mock" if options.engine == "mock" else "mlx"
        identity = WorkerIdentity(
            name="mlxwire-worker", version=__version__, pid=os.getpid(), engine=engine
        )
        self._connection = WorkerConnection(
            identity,
            limits=Limits(
                max_line_bytes=options.max_line_bytes, max_inflight=options.max_inflight
            ),
            capabilities={**capabilities(engine), "hub": options.allow_hub},
            events=frozenset({"heartbeat"}),
        )
        self._inbox = Inbox()
        own_description(wire_out)
        self._writer = Writer(
            wire_out,
            on_broken=lambda: os._exit(EXIT_STDOUT_BROKEN),
            on_room=self._inbox.wake,
        )
        self._reader = Reader(
            wire_in,
            wire_out,
            parent,
            stalled=self._writer.stalled,
            drains=options.drain_on_eof,
        )

    def run(self) -> NoReturn:
        """Serve until the host quits, closes a pipe or dies; never returns."""
        # Ctrl-C in a terminal reaches the whole foreground group; it is meant for the host.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.excepthook = _end_with_thread
        self._writer.start()
        patience = Patience(self._writer, self._options.flush_seconds)
        subscribed, first, ended = self._handshake(patience)
        from .serving import Serving

        serving = Serving(
            self._options,
            self._connection,
            self._reader,
            self._writer,
            self._inbox,
            patience,
            subscribed,
        )
        serving.run(first, ended=ended)

    def _handshake(
        self, patience: Patience
    ) -> tuple[frozenset[str] | None, Iterable[Event], bool]:
        """Answer lines until a `hello` succeeds, a request of dialect 0 comes, or stdin ends.

        Return the events that `hello` named (None without a `hello`), the bytes after it that
        were already read, and True if stdin has ended.
        """
        while True:
            sign = self._reader.wait()
            ended = False
            events: Iterator[Event] = iter(())
            if sign == "data" and (chunk := self._reader.read()):
                events = self._connection.receive(chunk)
            elif sign in ("data", "end"):
                events, ended = self._connection.receive_end(), True
            elif sign == "hung_up":
                patience.check()
            else:
                exit_if_abandoned(sign)
            for event in events:
                if isinstance(event, Accepted):
                    return None, chain([event], events), ended
                self._writer.put(event.line)
                if isinstance(event, Greeted):
                    return event.events, events, ended
                assert isinstance(event, Answer)
            if ended:
                return None, (), True
