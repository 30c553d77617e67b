"""A worker's end fed with lines: a request, or one typed answer under the line's own id."""

from __future__ import annotations

import random

from mlxwire_protocol import Accepted, WireError, WorkerConnection
from mlxwire_protocol.codec import parse_object, valid_id
from mlxwire_protocol.results import Limits, WorkerIdentity

from .cases import Case, Target, require
from .mutation import line_of, maybe_spoiled
from .reference import NotJson, is_sure, read_json
from .reply_checks import check_reply
from .wire_requests import HELLO, some_request

MOST = 1500
INFLIGHT = 6
IDENTITY = WorkerIdentity(name="fuzzed", version="0", pid=1, engine="mock")


def worker_end(*, most: int = MOST, inflight: int = INFLIGHT) -> WorkerConnection:
    """Return a worker's end before its handshake, with limits that are soon met."""
    return WorkerConnection(
        IDENTITY,
        limits=Limits(max_line_bytes=most, max_inflight=inflight),
        capabilities={"generate": True},
        events=frozenset({"heartbeat"}),
    )


class Messages(Target):
    """Each line is a step; every other request that is taken ends at once."""

    name = "messages"

    def make(self, dice: random.Random) -> Case:
        lines = [maybe_spoiled(some_request(dice), dice, share=0.6) for _ in range(24)]
        start = [line_of(HELLO)] if dice.random() < 0.9 else []
        return [line.replace(b"\n", b" ") for line in [*start, *lines]]

    def run(self, case: Case) -> int:
        end = worker_end()
        lines = [step for step in case if isinstance(step, bytes)]
        for number, line in enumerate(lines):
            value = _agreed_value(line)
            for event in end.receive(line + b"\n"):
                if not isinstance(event, Accepted):
                    _check_answer(event.line, value, in_ids=end.state != "dialect0")
                elif end.state != "dialect0":
                    require(value["id"] == event.command.id, "another id was accepted")
                    if number % 2:
                        require(not list(end.finished(event.command.id)), "more follows an end")
        require(len(end.in_flight) <= len(lines), "more in flight than was sent")
        return len(lines)


def _agreed_value(line: bytes) -> dict[str, object]:
    """Return the object on which reference and code agree; empty for an unreadable line."""
    if len(line.removesuffix(b"\r")) > MOST:
        return {}
    try:
        value = parse_object(line)
    except WireError as error:
        require(error.code in ("parse_error", "invalid_request"), f"{error.code} for a line")
        value = {}
        if is_sure(line) and error.code == "parse_error":
            require(_refused(line), f"JSON is refused: {error.message}")
    else:
        require(not is_sure(line) or read_json(line) == value, "the line has another value")
    return value


def _refused(line: bytes) -> bool:
    try:
        read_json(line)
    except NotJson:
        return True
    return False


def _check_answer(answer: bytes, value: dict[str, object], *, in_ids: bool) -> None:
    if not in_ids:
        require(answer.startswith(b'{"error":"'), f"{answer!r} in dialect 0")
        return
    if answer.startswith(b'{"error":'):  # before any dialect
        require(not value, f"{answer!r} before any dialect")
        return
    message = check_reply(answer)
    named = value.get("id")
    if value and message["id"] is not None:
        require(message["id"] == named, f"the answer names {message['id']!r}, not {named!r}")
    if value and message["id"] is None:
        wrong = not valid_id(named) or not isinstance(value.get("cmd"), str)
        require(wrong, f"no id in the answer to {named!r}")
