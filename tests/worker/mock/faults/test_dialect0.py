"""Fault scripts work in a dialogue without ids; one that can't is refused."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from support.patience import PATIENCE_SECONDS

from .conftest import Played, Start

LOAD = {"cmd": "load", "path": "any"}
GENERATE = {"cmd": "generate", "prompt": "one two three"}
TOKEN = {"phase": "request", "type": "token", "nth": 2}
DONE = {"phase": "request", "type": "done"}
LOADED = {"ok": True, "model_type": "mock", "vocab_size": 65536}


def play(start: Start, *faults: dict[str, Any], requests: list[Any]) -> Played:
    """Return what a worker wrote for requests without ids; bytes are sent as they are."""
    process = start(*faults)
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in requests]
    stdout, stderr = process.communicate(b"\n".join(lines) + b"\n", timeout=PATIENCE_SECONDS)
    return Played(stdout, stderr, process.returncode)


def texts(played: Played) -> list[Any]:
    """Return each reply as its token's text, or the name of its kind."""
    return [
        each.get("token")
        or next(name for name in ("done", "ok", "error", "layers") if name in each)
        for each in played.replies()
    ]


def test_a_worker_is_killed_amid_a_line(start: Start) -> None:
    fault = {**TOKEN, "kind": "crash", "after_bytes": 10}
    played = play(start, fault, requests=[LOAD, GENERATE])

    assert played.returncode == -signal.SIGKILL
    *whole, rest = played.stdout.splitlines()
    assert [json.loads(line) for line in whole][1]["token"] == "one"
    assert len(rest) == 10


@pytest.mark.parametrize(
    ("fault", "replies"),
    [
        ({"phase": "load", "kind": "drop"}, ["one", " two", " three", "done"]),
        ({**DONE, "kind": "drop"}, ["ok", "one", " two", " three"]),
        ({**DONE, "kind": "repeat"}, ["ok", "one", " two", " three", "done", "done"]),
        (
            {**DONE, "kind": "burst", "tokens": 2},
            ["ok", "one", " two", " three", "x", "x", "done"],
        ),
        (
            {**TOKEN, "kind": "change", "set": {"token": "!"}},
            ["ok", "one", "!", " three", "done"],
        ),
        ({"phase": "load", "kind": "ignore"}, ["error"]),
    ],
)
def test_messages_are_changed(start: Start, fault: dict[str, Any], replies: list[str]) -> None:
    assert texts(play(start, fault, requests=[LOAD, GENERATE])) == replies


def test_replies_are_counted_for_the_request_that_they_answer(start: Start) -> None:
    fault = {**TOKEN, "kind": "drop", "command": "chat"}
    chat = {"cmd": "chat", "messages": [{"role": "user", "content": "four five six"}]}
    requests = [
        b"garbage",
        LOAD,
        b"",
        b"garbage",
        GENERATE,
        {"cmd": "zz"},
        chat,
        {"cmd": "info"},
    ]

    said = ["error", "ok", "error", "one", " two", " three", "done", "error"]
    assert texts(play(start, fault, requests=requests)) == [
        *said,
        "four",
        " six",
        "done",
        "layers",
    ]


def test_a_late_request_is_answered_after_the_next(start: Start) -> None:
    fault = {"phase": "request", "command": "generate", "kind": "late", "seconds": 0.2}
    drop = {"phase": "request", "command": "info", "type": "result", "kind": "repeat"}
    process = start(fault, drop)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"".join(json.dumps(one).encode() + b"\n" for one in (LOAD, GENERATE)))
    process.stdin.write(b'{"cmd":"info"}\n')
    process.stdin.flush()
    kinds = [next(iter(json.loads(process.stdout.readline()))) for _ in range(7)]

    assert kinds == ["ok", "model_type", "model_type", "token", "token", "token", "done"]


def test_a_stream_that_is_cancelled_gets_no_end(start: Start) -> None:
    fault = {"phase": "cancel", "kind": "unended"}
    long = {"cmd": "generate", "prompt": "la " * 3000, "max_tokens": 3000}
    requests = [LOAD, long, {"cmd": "cancel"}, {"cmd": "info"}]
    replies = texts(play(start, fault, requests=requests))

    assert "done" not in replies
    assert replies[-1] == "layers"


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ({**TOKEN, "kind": "drop", "id": "g"}, "`id`"),
        ({"phase": "request", "type": "progress", "kind": "drop"}, "`progress`"),
        ({"phase": "request", "command": "classify", "kind": "ignore"}, "command"),
        ({"phase": "credit", "kind": "ignore"}, "command"),
        ({"phase": "start", "type": "result", "kind": "drop"}, "`hello`"),
        ({"phase": "cancel", "kind": "drop"}, "answers neither"),
        ({"phase": "cancel", "kind": "race"}, "`ignore`"),
        ({**DONE, "kind": "insert", "message": {"id": "$id"}}, "`$id`"),
    ],
)
def test_a_script_that_can_not_strike_is_refused(
    start: Start, fault: dict[str, Any], word: str
) -> None:
    played = play(start, fault, requests=[LOAD, GENERATE])

    assert played.returncode == 2
    assert not played.stdout
    assert b"faults[0]" in played.stderr
    assert word in played.stderr.decode()
