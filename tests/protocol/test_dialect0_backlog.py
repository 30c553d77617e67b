"""The backlog behind a request of the older wire is bounded, and served without depth (SPEC §7)."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_protocol import WorkerConnection
from mlxwire_protocol.dialect0.session import BACKLOG_BYTES
from protocol.wire import answers, commands, connection, line, send

GENERATE = {"cmd": "generate", "prompt": "x"}
INFO = {"cmd": "info"}


def running() -> tuple[WorkerConnection, str]:
    """Return a connection on which a request runs, and the request's id within the worker."""
    worker = connection()
    (command,) = commands(send(worker, GENERATE))
    return worker, command.id


def test_a_long_backlog_is_served_without_nesting_a_call_for_each() -> None:
    worker, first = running()
    count = 3000
    assert not send(worker, *[INFO] * count)
    served = 0

    def serve(events: Any) -> None:
        nonlocal served
        for event in events:
            served += 1
            serve(worker.finished(event.command.id))

    serve(worker.finished(first))
    assert served == count


def test_a_backlog_is_bounded_in_bytes_and_refused_at_once_beyond() -> None:
    worker = connection(max_line_bytes=1 << 24)
    (first,) = commands(send(worker, GENERATE))
    big = line({"cmd": "generate", "prompt": "x" * (1 << 23)})
    waiting = 0
    while not (events := list(worker.receive(big))):
        waiting += 1
    assert waiting == BACKLOG_BYTES // len(big)
    assert answers(events)[0]["error"].startswith("generate: too many")
    assert len(commands(worker.finished(first.id))) == 1
    assert not list(worker.receive(big))


def test_the_smallest_requests_are_bounded_in_number() -> None:
    worker, _ = running()
    allowed = BACKLOG_BYTES // 1024

    refused = answers(worker.receive(b"0\n" * (allowed + 5)))

    assert len(refused) == 5
    assert all("too many" in answer["error"] for answer in refused)


def test_a_request_larger_than_the_backlog_is_served_where_nothing_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlxwire_protocol.dialect0.session.BACKLOG_BYTES", 2000)
    worker = connection()
    large = {"cmd": "generate", "prompt": "x" * 3000}

    (first,) = commands(send(worker, large))
    assert answers(send(worker, large))
    list(worker.finished(first.id))
    assert len(commands(send(worker, large))) == 1
