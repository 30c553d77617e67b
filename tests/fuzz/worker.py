"""The worker's whole state machine, over the mock engine and on one thread.

Requests, cancels and credit come between any two steps of its two threads, whose loops are run
here one turn at a time; so a case does the same each time it is run.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import cast

from mlxwire_worker.mock.engine import MockEngine
from mlxwire_worker.process.writer import Writer
from mlxwire_worker.requests.conversation import Conversation
from mlxwire_worker.scheduling.inbox import Inbox
from mlxwire_worker.scheduling.scheduler import Scheduler

from .cases import Case, Do, Step, Target, require
from .messages import MOST, worker_end
from .mutation import cut_up, maybe_spoiled
from .reference import NotJson, is_sure, lines_of, read_json
from .reply_checks import check_reply, read_line
from .wire_requests import HELLO, LOAD, some_request, without_id

TURNS_TO_THE_END = 4000
"""More than any case needs; a worker that takes them all goes round without getting anywhere."""


class Worker(Target):
    """Chunks, and what the worker's threads do between them."""

    name = "worker"

    def make(self, dice: random.Random) -> Case:
        old = dice.random() < 0.15
        case: Case = []
        opening = [HELLO, LOAD] if dice.random() < 0.95 else []
        for message in [*opening, *(some_request(dice) for _ in range(dice.randrange(1, 24)))]:
            message = without_id(message) if old else message
            share = 0.02 if message in opening else 0.2
            line = maybe_spoiled(message, dice, share=share) + b"\n"
            case += cut_up(line, dice) if dice.random() < 0.1 else [line]
            while dice.random() < 0.6:
                case.append(Do(dice.choice(_OFTEN)))
        return [*case, Do(dice.choice(["cancel all", "drain"]))]

    def run(self, case: Case) -> int:
        core = Core()
        fed: list[bytes] = []
        for step in case:
            if core.session.quitting:
                break  # as `Serving` does
            if isinstance(step, bytes):
                fed.append(step)
            core.take(step)
        core.end()
        _check_finals(b"".join(fed), b"".join(core.written))
        return len(fed)


class Idle(BaseException):
    """A thread would wait now."""


class OneTurn(threading.Condition):
    """Stands for a thread's condition: lets its loop go on as often as it was given turns."""

    turns = 0

    def wait(self, timeout: float | None = None) -> bool:
        raise Idle

    def wait_for(self, predicate: Callable[[], object], timeout: float | None = None) -> bool:
        if not self.turns or not predicate():
            raise Idle
        self.turns -= 1
        return True


class Output:
    """Stands for the writer."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.full = False

    def has_room(self) -> bool:
        return not self.full

    def put(self, line: bytes) -> None:
        self.written.append(line)

    def cork(self) -> None:
        pass

    def uncork(self) -> None:
        pass


class Core:
    """Connection, session, scheduler and engine."""

    def __init__(self) -> None:
        self._output = Output()
        self._connection = worker_end()
        self._engine = MockEngine()
        self._inbox = Inbox()
        self._turns = OneTurn()
        self._inbox.alarm = OneTurn()
        self._inbox._arrivals = self._turns
        self.session = Conversation(
            self._connection, cast(Writer, self._output), self._engine, self._inbox
        )
        self._scheduler = Scheduler(
            self._engine, self.session.ledger, self._inbox, self._output.has_room
        )
        self.written = self._output.written

    def take(self, step: Step) -> None:
        """Take bytes from the host, or something that happens meanwhile."""
        if isinstance(step, bytes):
            self.session.receive(step)
        else:
            _MEANWHILE[step.name](self)

    def prepare(self) -> bool:
        """Take one turn of the prepare thread; return False if it has nothing to do."""
        self._turns.turns = 1
        try:
            self._scheduler._prepare_all()
        except Idle:
            return not self._turns.turns
        return False

    def schedule(self) -> bool:
        """Take one turn of the engine's thread; return False if it has nothing to do."""
        try:
            self._scheduler._turn()
        except Idle:
            return False
        return True

    def stop_reading(self) -> None:
        """Let the host read no more answers."""
        self._output.full = True

    def read_on(self) -> None:
        """Let the host read answers again."""
        self._output.full = False
        self._inbox.wake()

    def cancel_all(self) -> None:
        """Cancel everything, as at the end of input."""
        if not self.session.quitting:
            self.session.receive_end()
        self.session.cancel_all()

    def drain(self) -> None:
        """Finish everything, as at the end of input with `--drain-on-eof`."""
        self.session.receive_end()
        self.session.ledger.open_windows()
        self.read_on()
        for _ in range(TURNS_TO_THE_END):
            if self.session.idle or not (self.prepare() | self.schedule()):
                break

    def end(self) -> None:
        """End as `Serving` does. Raises: Finding if a request outlives the end."""
        self._output.full = False
        self.session.cancel_all()
        turns = 0
        while self.prepare() | self.schedule():
            turns += 1
            require(turns < TURNS_TO_THE_END, "the scheduler goes round and round")
        require(
            self.session.idle, f"cancelled, and yet in flight: {self._connection.in_flight}"
        )
        self.session.finish()
        require(not self._connection.in_flight, "in flight after the end")
        require(not self.session.ledger.jobs, "jobs after the end")
        require(not self._engine._running, "the engine still has sequences")
        require(not self._scheduler._sequences.busy, "the scheduler still has sequences")


_MEANWHILE: dict[str, Callable[[Core], object]] = {
    "prepare": Core.prepare,
    "schedule": Core.schedule,
    "stop reading": Core.stop_reading,
    "read on": Core.read_on,
    "cancel all": Core.cancel_all,
    "drain": Core.drain,
}
_OFTEN = ["prepare"] * 6 + ["schedule"] * 10 + ["stop reading", "read on", "read on"]


def _check_finals(stream: bytes, written: bytes) -> None:
    """Check that every line has one answer and nothing follows the answer."""
    lines, rest = lines_of(stream, MOST)
    if rest is not None and (len(rest) > MOST or rest.strip(b" \t\r")):
        lines.append(rest)
    objects = [_object(line) for line in lines]
    first = next((found for found in objects if found is not None), None)
    answers = [line + b"\n" for line in written.split(b"\n")[:-1]]
    if first is None or "id" not in first:
        _check_older(
            objects, answers, sure=all(line is None or is_sure(line) for line in lines)
        )
        return
    before = next(place for place, found in enumerate(objects) if found is not None)
    for answer in answers[:before]:
        require(read_line(answer).keys() == {"error"}, f"{answer!r} before any dialect")
    messages = [check_reply(answer) for answer in answers[before:]]
    finals = Counter(
        message["id"]
        for message in messages
        if message.get("final") and not _is_double(message)
    )
    count = sum(message.get("final", False) for message in messages)
    require(count == len(lines) - before, f"{count} finals for {len(lines) - before} lines")
    require(all(n == 1 for key, n in finals.items() if key is not None), f"twice: {finals}")
    over: set[str] = set()
    for message in messages:
        if _is_double(message) or message["id"] is None:
            continue
        require(message["id"] not in over, f"after its final: {message}")
        require(_code(message) != "internal", f"{message}")
        if message.get("final"):
            over.add(message["id"])


def _check_older(
    objects: list[dict[str, object] | None], answers: list[bytes], *, sure: bool
) -> None:
    """Check the answers of dialect 0, where `cancel` and `quit` have none of their own."""
    messages = [read_line(answer) for answer in answers]
    ends = sum("token" not in message for message in messages)
    silent = sum(
        found is not None and "id" not in found and found.get("cmd") in ("cancel", "quit")
        for found in objects
    )
    if sure:
        due = len(objects) - silent
        require(ends == due, f"{ends} answers for {due} lines of dialect 0")


def _object(line: bytes | None) -> dict[str, object] | None:
    """Return a line's object, or None if the line is too long or has none."""
    if line is None or len(line) > MOST:
        return None
    try:
        value = read_json(line)
    except (NotJson, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_double(message: dict[str, object]) -> bool:
    return _code(message) == "duplicate_id"


def _code(message: dict[str, object]) -> object:
    error = message.get("error")
    return error.get("code") if isinstance(error, dict) else None
