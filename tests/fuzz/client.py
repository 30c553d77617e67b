"""The Python client fed with a worker's bytes: every request ends once, with a result or an error.

The connection, the requests and the model are the shipping ones; only the process is not.
"""

from __future__ import annotations

import asyncio
import random
import signal
from typing import Any

from mlxwire import MlxwireError
from mlxwire.connection.connection import Connection
from mlxwire.connection.handshake import greet
from mlxwire.model import Model
from mlxwire.process.shutdown import ShutdownLimits
from mlxwire.process.stderr_ring import StderrRing
from mlxwire.requests.route import ModelRoute, RequestLimits
from support.fake_process import LOADED

from .cases import Case, Do, Finding, Step, Target, require
from .mutation import cut_up, maybe_spoiled
from .wire_replies import GREETING, Replies

IDS = [b'"r%d"' % number for number in (2, 3, 3, 4, 7, 4, 5, 6, 6)]
"""Those of `_ask_all`, and of the first credit."""
TICKS = 12
"""Rounds of the loop after which whatever can end has ended."""


class Client(Target):
    """Chunks from the worker; between them a caller may leave, and the worker die."""

    name = "client"

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()

    def make(self, dice: random.Random) -> Case:
        worker = Replies(dice)
        case: Case = [maybe_spoiled(GREETING, dice, share=0.03) + b"\n", Do("tick")]
        for _ in range(dice.randrange(1, 32)):
            line = maybe_spoiled(worker.some(IDS), dice, share=0.03) + b"\n"
            case += cut_up(line, dice) if dice.random() < 0.1 else [line]
            if dice.random() < 0.15:
                case.append(Do(dice.choice(["tick", "tick", "leave", "exit"])))
        return case

    def run(self, case: Case) -> int:
        return self._loop.run_until_complete(_run(case))


class Process:
    """Stands for the worker's process; it can't be ended, since nothing of it is alive."""

    alive = False

    def write(self, line: bytes) -> None:
        require(line.endswith(b"\n"), f"{line!r} is no line")

    def close_stdin(self) -> None:
        pass

    def signal_group(self, number: signal.Signals) -> None:
        pass

    def release(self) -> None:
        pass


class Host:
    """A connection, the requests on it, and what went wrong where nobody waits."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.strange: list[str] = []
        self.loop.set_exception_handler(self._note)
        self.connection = Connection(
            self.loop,
            shutdown=ShutdownLimits(),
            limits=RequestLimits(buffer_bytes=4096),
            stderr=StderrRing(),
            on_event=lambda _event: None,
        )
        self.connection.process = Process()  # type: ignore[assignment]
        self.tasks: list[asyncio.Task[object]] = []

    async def start(self) -> None:
        """Send hello; once it is answered, ask."""
        greeting = greet(self.connection, version="0", require=[], events=[], seconds=60)
        self._add(self._greeted(greeting))
        await asyncio.sleep(0)

    async def _greeted(self, greeting: Any) -> None:
        await greeting
        model = Model(ModelRoute(self.connection, LOADED), on_close=self._never)
        self._add(model.info())
        self._add(model.generate("a").text())
        self._add(model.chat("a").text())
        self._add(model.classify(["a", "b"]))
        self._add(model.batch(["a", "b"]).results())

    async def _never(self, _route: ModelRoute) -> None:
        raise Finding("a model was closed")

    def _add(self, asking: Any) -> None:
        self.tasks.append(asyncio.ensure_future(asking))

    def _note(self, _loop: object, context: dict[str, Any]) -> None:
        self.strange.append(f"{context.get('exception')!r}: {context['message']}")

    async def take(self, step: Step) -> None:
        """Take bytes of the worker, or something that happens meanwhile."""
        if isinstance(step, bytes):
            self.connection.stdout_received(step)
        elif step.name == "exit":
            self.connection.process_exited(-9)
        elif step.name == "leave":
            next((task for task in self.tasks[1:] if not task.done()), self.tasks[0]).cancel()
        else:
            await tick()

    async def end(self) -> None:
        """Let the worker die. Raises: Finding if a request outlives it, or ended strangely."""
        self.connection.process_exited(1)
        await tick()
        for task in self.tasks:
            require(task.done(), f"{task.get_coro()} hangs")
            failure = None if task.cancelled() else task.exception()
            if failure is not None and not isinstance(failure, MlxwireError):
                raise failure
        require(not self.connection.in_flight, "in flight after the end")
        require(not self.strange, f"{self.strange}")


async def tick() -> None:
    """Let the loop go round."""
    for _ in range(TICKS):
        await asyncio.sleep(0)


async def _run(case: Case) -> int:
    host = Host()
    await host.start()
    fed = 0
    try:
        for step in case:
            if host.connection.failure is not None:
                break
            fed += isinstance(step, bytes)
            await host.take(step)
        await host.end()
    finally:
        for task in host.tasks:
            task.cancel()
        await asyncio.gather(*host.tasks, return_exceptions=True)
    return fed
