"""The runner itself: a transcript that is not followed has to fail."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from conformance.transcript import Mismatch, fits, follow, parse
from mlxwire_protocol import WireError

RESULT = {"id": "a", "type": "result", "final": True, "ok": True}
TOKENS = [
    {"id": "a", "type": "token", "seq": seq, "token": "x", "token_id": 1} for seq in range(3)
]
ERROR = {
    "id": "a", "type": "error", "final": True,
    "error": {"code": "internal", "message": "x", "retryable": False, "data": {}},
}  # fmt: skip
TOKEN_LINE = '{"id":"a","type":"token","...":"..."}'
ERROR_LINE = '{"id":"a","type":"error","...":"..."}'


class Scripted:
    """Says what it was given, whatever it is told."""

    def __init__(self, *messages: dict[str, Any], code: int = 0) -> None:
        self.lines = [json.dumps(message).encode() for message in messages]
        self.code = code
        self.written = b""

    def write(self, payload: bytes) -> None:
        self.written += payload

    def close_input(self) -> None:
        self.written += b"<end>"

    def read_line(self) -> bytes | None:
        return self.lines.pop(0) if self.lines else None

    def exit_code(self) -> int:
        return self.code


def play(text: str, *messages: dict[str, Any], code: int = 0) -> Scripted:
    peer = Scripted(*messages, code=code)
    follow(parse("t", f"{text}\n! exit 0"), peer)
    return peer


@pytest.mark.parametrize(
    ("pattern", "value", "fit"),
    [
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1, "...": "..."}, {"a": 1, "b": 2}, True),
        ({"a": 1, "...": "..."}, {"b": 2}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1.0}, False),
        ({"a": None}, {"a": None}, True),
        ([1, "$any"], [1, {}], True),
        ([1], [1, 2], False),
        ("$string", "x", True),
        ("$string", 5, False),
        ("$number", 5, True),
        ("$number", 0.5, True),
        ("$number", True, False),
        ("$bool", True, True),
        ("$bool", 1, False),
        ("$object", {}, True),
        ("$array", [], True),
        ("$array", {}, False),
        ("$any", None, True),
        ("$prefix:ab", "abc", True),
        ("$prefix:ab", "cab", False),
        ("$prefix:ab", 5, False),
        ({"a": 1}, [], False),
        ([1], {}, False),
    ],
)
def test_a_pattern_fits_or_does_not(pattern: Any, value: Any, fit: bool) -> None:
    assert fits(pattern, value) is fit


@pytest.mark.parametrize(
    "text",
    ["> {}", "x {}\n! exit 0", " > {}\n! exit 0", "! sing\n! exit 0", "< {\n! exit 0", ""],
)
def test_a_transcript_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse("t", text)


def test_what_is_written_is_what_stands_there() -> None:
    peer = play('> {"a":"$repeat(é,3)"}\n>hex 0d0a\n! eof')
    assert peer.written == '{"a":"ééé"}\n\r\n<end>'.encode()


def test_a_dialogue_as_written_passes() -> None:
    bare = {"token": "x"}
    other = {**RESULT, "id": "b"}
    progress = {"id": "a", "type": "progress", "stage": "load", "done": 0, "total": 1}
    text = (
        f'<* {TOKEN_LINE}\n< {ERROR_LINE}\n< {{"token":"x"}}\n'
        '<! {"id":"b","type":"result","...":"..."}'
    )
    play(text, progress, TOKENS[0], bare, TOKENS[1], progress, ERROR, other)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (f"< {ERROR_LINE}", []),
        (f"< {ERROR_LINE}", [RESULT]),
        (f"< {ERROR_LINE}", [{**ERROR, "id": "b"}]),
        ("", [RESULT]),
        (f"< {TOKEN_LINE}\n< {TOKEN_LINE}", [TOKENS[0], ERROR]),
        (f"<* {TOKEN_LINE}", [TOKENS[0], ERROR]),
        (f"<! {ERROR_LINE}", [{**RESULT, "id": "b"}, ERROR]),
        ('< {"a":1}', [{"a": 2}]),
    ],
)
def test_a_missing_a_different_and_a_left_over_line_fail(
    text: str, messages: list[dict[str, Any]]
) -> None:
    with pytest.raises(Mismatch, match=r"t\.txt:\d"):
        play(text, *messages)


@pytest.mark.parametrize(
    "messages",
    [
        [ERROR, ERROR],
        [ERROR, TOKENS[0]],
        [TOKENS[0], TOKENS[2], ERROR],
        [TOKENS[0], TOKENS[0], ERROR],
        [TOKENS[0], RESULT],
    ],
)
def test_what_no_request_may_do_fails_whatever_the_transcript_says(
    messages: list[dict[str, Any]],
) -> None:
    anything = '<* {"id":"a","...":"..."}'
    play(anything, *TOKENS, ERROR)
    with pytest.raises(WireError, match="protocol_violation"):
        play(anything, *messages)


def test_a_reply_that_the_schema_does_not_know_fails() -> None:
    with pytest.raises(jsonschema.ValidationError):
        play('<* {"id":"a","...":"..."}', {**TOKENS[0], "token": None})


def test_another_exit_code_fails() -> None:
    with pytest.raises(Mismatch, match="exit code is 3"):
        play("", code=3)
