"""The worker's end: dialect, handshake and ids, each state by each kind of line (SPEC §2, §3)."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxwire_protocol import Accepted, Greeted, WireError, WorkerConnection, choose_version
from mlxwire_protocol.connection import REMEMBERED_IDS
from mlxwire_protocol.results import OkResult
from protocol.strategies import GARBAGE
from protocol.wire import HELLO, answers, codes, commands, connection, line, send

INFO = {"cmd": "info"}
Start = Literal["silent", "await_hello", "ready", "dialect0"]


def started(state: Start) -> WorkerConnection:
    worker = connection(greeted=state == "ready")
    if state == "await_hello":
        send(worker, {"id": "early", **INFO})
    if state == "dialect0":
        worker = connection()
        for command in commands(send(worker, INFO)):
            assert not list(worker.finished(command.id))
    assert worker.state == state
    return worker


# Each state by each kind of line: the state that follows, and what comes of the line.
TABLE: list[tuple[Start, Any, str, Any]] = [
    ("silent", HELLO, "ready", "greeted"),
    ("silent", {"id": "a", **INFO}, "await_hello", ("a", "not_initialized")),
    ("silent", {"id": "a", "cmd": "quit"}, "await_hello", ("a", "not_initialized")),
    ("silent", {"id": "a"}, "await_hello", (None, "invalid_request")),
    ("silent", {"id": 5, **INFO}, "await_hello", (None, "invalid_request")),
    ("silent", {"id": None, **INFO}, "dialect0", "accepted"),
    ("silent", INFO, "dialect0", "accepted"),
    ("silent", {}, "dialect0", "plain"),
    ("silent", {"cmd": "hello", "protocols": [1]}, "dialect0", "plain"),
    ("silent", b"garbage", "silent", "plain"),
    ("silent", b"[]", "silent", "plain"),
    ("silent", b"x" * 5000, "silent", "plain"),
    ("silent", b'{"id":"a",', "silent", "plain"),
    ("await_hello", HELLO, "ready", "greeted"),
    ("await_hello", {**HELLO, "protocols": [2]}, "await_hello", ("h", "unsupported_protocol")),
    (
        "await_hello",
        {**HELLO, "require": ["x"]},
        "await_hello",
        ("h", "unsupported_capability"),
    ),
    ("await_hello", {"id": "a", "cmd": "hello"}, "await_hello", ("a", "invalid_params")),
    ("await_hello", {"id": "a", **INFO}, "await_hello", ("a", "not_initialized")),
    ("await_hello", {"id": "a", "cmd": "zz"}, "await_hello", ("a", "not_initialized")),
    ("await_hello", {"id": "early", **INFO}, "await_hello", ("early", "duplicate_id")),
    ("await_hello", INFO, "await_hello", (None, "invalid_request")),
    ("await_hello", b"garbage", "await_hello", (None, "parse_error")),
    ("ready", {"id": "a", **INFO}, "ready", "accepted"),
    ("ready", {"id": "a", "cmd": "quit"}, "ready", "accepted"),
    ("ready", {**HELLO, "id": "h2"}, "ready", ("h2", "invalid_request")),
    ("ready", HELLO, "ready", ("h", "duplicate_id")),
    ("ready", {"id": "a", "cmd": "zz"}, "ready", ("a", "unknown_command")),
    ("ready", {"id": "a", "cmd": "info", "x": 1}, "ready", ("a", "invalid_params")),
    ("ready", {"id": "a"}, "ready", (None, "invalid_request")),
    ("ready", {"id": "a", "cmd": 5}, "ready", (None, "invalid_request")),
    ("ready", INFO, "ready", (None, "invalid_request")),
    ("ready", {"id": "", **INFO}, "ready", (None, "invalid_request")),
    ("ready", {"id": 5, **INFO}, "ready", (None, "invalid_request")),
    ("ready", {"id": "x" * 129, **INFO}, "ready", (None, "invalid_request")),
    ("ready", {"id": "é" * 65, **INFO}, "ready", (None, "invalid_request")),
    ("ready", b"garbage", "ready", (None, "parse_error")),
    ("ready", b'{"id":"a","cmd":"info"', "ready", ("a", "parse_error")),
    ("ready", b'{"id":"h","cmd":"info"', "ready", (None, "parse_error")),
    ("ready", b'["id","a"]', "ready", (None, "invalid_request")),
    ("ready", b"x" * 5000, "ready", (None, "message_too_large")),
    ("ready", b'{"id":"a"' + b" " * 5000, "ready", ("a", "message_too_large")),
    ("ready", b'{"id":"h"' + b" " * 5000, "ready", (None, "message_too_large")),
    ("ready", b'{"x":{"id":"a"}' + b" " * 5000, "ready", (None, "message_too_large")),
    ("dialect0", INFO, "dialect0", "accepted"),
    ("dialect0", HELLO, "dialect0", "plain"),
    ("dialect0", {"id": "a", **INFO}, "dialect0", "plain"),
    ("dialect0", {"id": None, **INFO}, "dialect0", "accepted"),
    ("dialect0", b"garbage", "dialect0", "plain"),
    ("dialect0", b"[]", "dialect0", "plain"),
    ("dialect0", b"x" * 5000, "dialect0", "plain"),
]


@pytest.mark.parametrize(("state", "message", "following", "outcome"), TABLE)
def test_every_state_takes_or_refuses_every_kind_of_line(
    state: Start, message: Any, following: str, outcome: Any
) -> None:
    worker = started(state)
    (event,) = send(worker, message)
    assert worker.state == following
    if outcome == "greeted":
        assert isinstance(event, Greeted)
    elif outcome == "accepted":
        assert isinstance(event, Accepted)
    elif outcome == "plain":
        (answer,) = answers([event])
        assert list(answer) == ["error"]
        assert isinstance(answer["error"], str)
    else:
        (answer,) = answers([event])
        assert answer["type"] == "error"
        assert answer["final"] is True
        assert codes([event]) == [outcome]


def test_the_handshake_tells_who_answers_and_what_it_can() -> None:
    hello = {
        **HELLO,
        "events": ["heartbeat", "unheard_of"],
        "x": 1,
        "require": ["generate", "labels"],
    }
    (greeted,) = send(connection(), hello)
    assert isinstance(greeted, Greeted)
    assert greeted.events == {"heartbeat"}
    assert answers([greeted]) == [
        {
            "id": "h",
            "type": "result",
            "final": True,
            "protocol": 1,
            "worker": {"name": "test", "version": "0", "pid": 1, "engine": "mock"},
            "capabilities": {"generate": True, "hub": False, "labels": {}},
            "limits": {"max_line_bytes": 4096, "max_inflight": 8},
            "events": ["heartbeat"],
        }
    ]


def test_the_highest_common_version_is_chosen() -> None:
    assert choose_version([1, 3, 2, 7], supported=(1, 2, 3)) == 3
    assert choose_version([0, 1, 99]) == 1
    for offered in ([], [0], [2, 3]):
        with pytest.raises(WireError) as caught:
            choose_version(offered)
        assert caught.value.data == {"supported": [1]}


def test_a_missing_capability_is_named_and_one_that_is_false_is_missing() -> None:
    worker = connection()
    (answer,) = answers(send(worker, {**HELLO, "require": ["hub", "generate", "batch"]}))
    assert answer["error"]["data"] == {"missing": ["hub", "batch"]}
    assert isinstance(send(worker, {**HELLO, "id": "again"})[0], Greeted)


def test_an_id_in_flight_is_refused_and_its_request_unharmed() -> None:
    worker = connection(greeted=True)
    assert len(commands(send(worker, {"id": "a", **INFO}))) == 1
    assert codes(send(worker, {"id": "a", "cmd": "quit"})) == [("a", "duplicate_id")]
    assert worker.in_flight == ["a"]
    assert worker.is_known("a") == "in_flight"
    list(worker.finished("a"))
    assert worker.is_known("a") == "finished"
    assert codes(send(worker, {"id": "a", **INFO})) == [("a", "duplicate_id")]


@pytest.mark.parametrize(
    "first",
    [{"id": "a", "cmd": "zz"}, {"id": "a", "cmd": "info", "x": 1}, b'{"id":"a","cmd"'],
)
def test_an_id_that_was_answered_with_an_error_is_used_up(first: Any) -> None:
    worker = connection(greeted=True)
    assert codes(send(worker, first))[0][0] == "a"
    assert codes(send(worker, {"id": "a", **INFO})) == [("a", "duplicate_id")]


def test_an_id_without_cmd_may_be_used_again() -> None:
    worker = connection(greeted=True)
    send(worker, {"id": "a"})
    assert len(commands(send(worker, {"id": "a", **INFO}))) == 1


def test_the_last_4096_ids_are_remembered_and_those_in_flight_for_ever() -> None:
    worker = connection(greeted=True)
    assert len(commands(send(worker, {"id": "kept", "cmd": "metrics"}))) == 1
    for number in range(REMEMBERED_IDS):
        for command in commands(send(worker, {"id": f"n{number}", **INFO})):
            list(worker.finished(command.id))
    assert worker.is_known("h") == "unknown"
    assert worker.is_known("n0") == "finished"
    send(worker, {"id": "one more", "cmd": "zz"})
    assert worker.is_known("n0") == "unknown"
    assert worker.is_known("n1") == "finished"
    assert codes(send(worker, {"id": "kept", **INFO})) == [("kept", "duplicate_id")]
    list(worker.finished("kept"))
    assert worker.is_known("kept") == "finished"
    assert len(worker._recent) == len(worker._recent_set) == REMEMBERED_IDS


def test_a_full_house_refuses_work_and_lets_control_through() -> None:
    worker = connection(greeted=True, max_inflight=2)
    generate = {"cmd": "generate", "prompt": "x"}
    send(worker, {"id": "a", **generate}, {"id": "b", **generate})
    (answer,) = answers(send(worker, {"id": "c", **generate}))
    assert (answer["id"], answer["error"]["code"]) == ("c", "overloaded")
    assert answer["error"]["retryable"] is True
    assert answer["error"]["data"] == {"max_inflight": 2}
    assert "a larger --max-inflight" in answer["error"]["message"]
    for name in ("info", "metrics", "cancel", "quit"):
        (command,) = commands(send(worker, {"id": name, "cmd": name}))
        list(worker.finished(command.id))
    for name in ("load", "unload", "chat", "classify"):
        fields = {"path": "x", "prompts": ["x"], "messages": [{"role": "u", "content": "x"}]}
        own = {"load": "path", "chat": "messages", "classify": "prompts"}.get(name)
        message = {"id": name, "cmd": name, **({own: fields[own]} if own else {})}
        assert codes(send(worker, message)) == [(name, "overloaded")]
    list(worker.finished("a"))
    assert len(commands(send(worker, {"id": "d", **generate}))) == 1


def test_requests_in_flight_may_not_have_more_than_16_lines_bytes_together() -> None:
    worker = connection(greeted=True, max_inflight=64, max_line_bytes=1000)
    full = {"cmd": "generate", "prompt": "x" * 900}
    accepted = commands(send(worker, *({"id": f"a{n}", **full} for n in range(17))))
    assert len(accepted) == 16
    (answer,) = answers(send(worker, {"id": "b", **full}))
    assert answer["error"]["code"] == "overloaded"
    assert answer["error"]["data"] == {"max_inflight_bytes": 16000}
    assert "a larger --max-line-bytes" in answer["error"]["message"]
    list(worker.finished(accepted[0].id))
    assert len(commands(send(worker, {"id": "c", **full}))) == 1


def test_a_last_line_without_its_end_is_still_served() -> None:
    worker = connection(greeted=True)
    assert not list(worker.receive(b'{"id":"a","cmd":"info"}'))
    assert [command.id for command in commands(worker.receive_end())] == ["a"]
    assert not list(worker.receive_end())


def test_a_last_line_above_the_limit_is_not_taken_for_its_beginning() -> None:
    worker = connection(greeted=True)
    assert not list(worker.receive(b'{"id":"a","cmd":"quit"}' + b" " * 5000))
    assert codes(worker.receive_end()) == [("a", "message_too_large")]


def test_a_reply_and_a_token_are_lines_under_their_id() -> None:
    worker = connection(greeted=True)
    assert json.loads(worker.encode_reply(OkResult(id="a"))) == {
        "id": "a", "type": "result", "final": True, "ok": True
    }  # fmt: skip
    assert json.loads(worker.encode_token("a", 3, "x\ud800", 7)) == {
        "id": "a", "type": "token", "seq": 3, "token": "x\ufffd", "token_id": 7
    }  # fmt: skip


def test_finishing_what_is_not_in_flight_changes_nothing() -> None:
    worker = connection(greeted=True)
    list(worker.finished("never"))
    assert worker.is_known("never") == "unknown"


@given(st.lists(GARBAGE, max_size=12), st.booleans(), st.integers(1, 40))
def test_any_lines_in_any_chunks_are_answered_once_each(
    lines: list[bytes], greeted: bool, size: int
) -> None:
    whole, pieces = connection(greeted=greeted), connection(greeted=greeted)
    stream = b"".join(map(line, lines))
    expected = list(whole.receive(stream))
    assert expected == [
        event
        for start in range(0, len(stream), size)
        for event in pieces.receive(stream[start : start + size])
    ]
    if whole.state != "dialect0":
        assert len(expected) == sum(bool(raw.strip(b" \t\r")) for raw in lines)
    for answer in answers(expected):
        assert "error" in answer or answer["type"] == "result"
