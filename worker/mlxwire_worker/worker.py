"""The process up to its handshake, which is answered before the rest is imported."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NoReturn

from mlxwire_protocol.connection import WorkerConnection
from mlxwire_protocol.events import Accepted, Answer, Event, Greeted
from mlxwire_protocol.replies import Limits, WorkerIdentity

from . import __version__
from .process.abandoned import EXIT_STDOUT_BROKEN, exit_if_abandoned
from .process.options import Options
from .process.reader import Reader
from .process.writer import Writer

CAPABILITIES = dict.fromkeys(
    [
        "load",
        "unload",
        "info",
        "generate",
        "chat",
        "batch",
        "classify",
        "cancel",
        "credit",
        "cache",
        "memory",
        "metrics",
        "quit",
        "seed",
        "stop",
        "stop_tokens",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
        "penalty_window",
        "logit_bias",
        "min_tokens",
        "xtc",
        "logprobs",
        "thinking",
        "special_tokens",
        "labels",
        "window",
        "deadline_seconds",
        "prompt_cache",
        "context_policy",
        "kv_bits",
        "memory_limit",
        "adapter_path",
        "heartbeat",
        "dialect0",
    ],
    True,
)


class Worker:
    """One worker process on the wire's two descriptors."""

    def __init__(self, options: Options, wire_in: int, wire_out: int) -> None:
        self._options = options
        identity = WorkerIdentity(
            name="mlxwire-worker",
            version=__version__,
            pid=os.getpid(),
            engine="mock" if options.engine == "mock" else "mlx",
        )
        self._connection = WorkerConnection(
            identity,
            limits=Limits(
                max_line_bytes=options.max_line_bytes, max_inflight=options.max_inflight
            ),
            capabilities={**CAPABILITIES, "hub": options.allow_hub},
            events=frozenset({"heartbeat"}),
        )
        self._writer = Writer(wire_out, on_broken=lambda: os._exit(EXIT_STDOUT_BROKEN))
        self._reader = Reader(wire_in, wire_out, stalled=lambda: self._writer.stalled)

    def run(self) -> NoReturn:
        """Serve until the host quits, closes a pipe or dies; never returns."""
        # Ctrl-C in a terminal reaches the whole foreground group; it is meant for the host.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._writer.start()
        subscribed, first, ended = self._handshake()
        from .serving import Serving

        serving = Serving(self._options, self._connection, self._reader, self._writer)
        serving.run(subscribed, first, ended=ended)

    def _handshake(self) -> tuple[frozenset[str] | None, Iterable[Event], bool]:
        """Answer until `hello` is through, a request of dialect 0 comes, or stdin ends.

        Returns the events asked for (None without a hello), what else the bytes read so far
        hold, and whether stdin has ended.
        """
        while True:
            sign = self._reader.wait()
            ended = False
            events: Iterator[Event] = iter(())
            if sign == "data" and (chunk := self._reader.read()):
                events = self._connection.receive(chunk)
            elif sign in ("data", "end"):
                events, ended = self._connection.receive_end(), True
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
