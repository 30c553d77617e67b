"""The process: puts the parts together, reads until the end, and ends within two seconds."""

from __future__ import annotations

import os
import signal
import time
from typing import NoReturn

from mlxwire_protocol import WorkerConnection
from mlxwire_protocol.replies import Limits, WorkerIdentity

from . import __version__
from .engine import Engine
from .heartbeat import Heartbeat
from .options import Options
from .reader import Reader
from .scheduler import Scheduler
from .session import Session
from .writer import Writer

EXIT_OK = 0
EXIT_STDOUT_BROKEN = 3
EXIT_PARENT_GONE = 4

FINALS_SECONDS = 0.8
"""How long the engine may take to end what was cancelled before it is ended without it."""
FLUSH_SECONDS = 0.7
"""How long the last lines may take to reach a host that is slow to read."""

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
    """One worker process around one engine and the wire's two descriptors."""

    def __init__(self, options: Options, wire_in: int, wire_out: int) -> None:
        self._options = options
        engine = make_engine(options)
        identity = WorkerIdentity(
            name="mlxwire-worker", version=__version__, pid=os.getpid(), engine=engine.name
        )
        connection = WorkerConnection(
            identity,
            limits=Limits(
                max_line_bytes=options.max_line_bytes, max_inflight=options.max_inflight
            ),
            capabilities={**CAPABILITIES, "hub": options.allow_hub},
            events=frozenset({"heartbeat"}),
        )
        self._writer = Writer(
            wire_out,
            on_broken=lambda: os._exit(EXIT_STDOUT_BROKEN),
            on_room=lambda: self._scheduler.wake(),
        )
        self._session = Session(connection, self._writer)
        self._scheduler = Scheduler(engine, self._session, lambda: self._writer.has_room)
        self._session.queue = self._scheduler
        self._session.memory = engine.memory
        self._session.on_greeted = self._scheduler.preload
        self._reader = Reader(wire_in, wire_out, stalled=lambda: self._writer.stalled)
        self._engine = engine
        self._heart = Heartbeat(self._session, self._scheduler, options.heartbeat_seconds)

    def run(self) -> NoReturn:
        """Serve until the host quits, closes a pipe or dies; never returns."""
        # Ctrl-C in a terminal reaches the whole foreground group; it is meant for the host.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._writer.start()
        self._scheduler.start()
        while self._session.quit_request is None:
            sign = self._reader.wait()
            self._heart.beat_if_due()
            if sign == "data" and (chunk := self._reader.read()):
                self._session.receive(chunk)
            elif sign in ("data", "end"):
                self._end_of_input()
            else:
                self._exit_if_abandoned(sign)
        self._exit()

    def _end_of_input(self) -> NoReturn:
        self._session.receive_end()
        self._reader.ignore_input()
        while self._options.drain_on_eof and not self._session.idle:
            self._wait(0.01)
        self._exit()

    def _exit(self) -> NoReturn:
        """Every final, then the answer to `quit`, then out; with bounds on each."""
        self._session.cancel_all()
        deadline = time.monotonic() + FINALS_SECONDS
        while not self._session.idle and time.monotonic() < deadline:
            self._wait(0.002)
        self._session.finish()
        deadline = time.monotonic() + FLUSH_SECONDS
        while not self._writer.flush(0.02) and time.monotonic() < deadline:
            self._wait(0.0)
        self._engine.close()
        # Not sys.exit: finalization would wait for the engine's thread, or abort in it.
        os._exit(EXIT_OK)

    def _wait(self, seconds: float) -> None:
        self._exit_if_abandoned(self._reader.wait(read=False, timeout=seconds))

    def _exit_if_abandoned(self, sign: str) -> None:
        if sign == "stdout_broken":
            os._exit(EXIT_STDOUT_BROKEN)
        if sign == "parent_gone":
            os._exit(EXIT_PARENT_GONE)


def make_engine(options: Options) -> Engine:
    """The engine that the command line named; its heavy imports come later, in `preload`."""
    if options.engine == "mock":
        from .mock_engine import MockEngine

        return MockEngine(options.mock_step_seconds)
    from .mlx_engine import MlxEngine

    return MlxEngine(
        model_roots=options.model_roots,
        data_roots=options.data_roots,
        allow_hub=options.allow_hub,
    )
