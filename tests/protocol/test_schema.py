"""The published schema is fresh, valid, and true of what is sent and accepted (SPEC §8)."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from mlxwire_protocol import WORKER_CODES, WireError, error_reply
from mlxwire_protocol.codec import convert_command, encode
from mlxwire_protocol.commands import COMMANDS
from mlxwire_protocol.replies import RequestMetrics
from mlxwire_protocol.results import REPLY_TYPES
from mlxwire_protocol.schema import protocol_schema, schema_text
from protocol.examples import REPLIES, REQUESTS
from protocol.strategies import near_misses, requests
from support.repository import ROOT

FILE = ROOT / "protocol" / "schema" / "mlxwire-protocol-1.schema.json"
SCHEMA = protocol_schema()


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{name}"}]})


REQUEST, REPLY = validator("request"), validator("reply")


def test_the_file_is_what_the_types_say() -> None:
    assert FILE.read_text("utf-8") == schema_text(), "python -m mlxwire_protocol.schema > FILE"


def test_it_is_valid_json_schema() -> None:
    Draft202012Validator.check_schema(json.loads(FILE.read_text("utf-8")))


def test_every_message_has_an_example() -> None:
    assert {request["cmd"] for request in REQUESTS} == set(COMMANDS)
    assert {type(reply) for reply in REPLIES} == set(REPLY_TYPES)


@pytest.mark.parametrize("request_fields", REQUESTS, ids=lambda fields: fields["cmd"])
def test_an_example_of_every_request_is_valid(request_fields: dict[str, Any]) -> None:
    convert_command(request_fields)
    REQUEST.validate(request_fields)
    jsonschema.validate(request_fields, SCHEMA)


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_what_is_sent_is_valid_and_whole(reply: Any) -> None:
    message = json.loads(encode(reply))
    own = validator(type(reply).__name__)
    own.validate(message)
    REPLY.validate(message)
    REPLY.validate({**message, "added_later": 1})
    optional = {"logits", "labels"}
    for name in message.keys() - optional:
        without = {key: value for key, value in message.items() if key != name}
        assert not own.is_valid(without), f"{name} is always sent"


@pytest.mark.parametrize("code", WORKER_CODES)
def test_every_code_of_the_worker_is_valid(code: str) -> None:
    REPLY.validate(json.loads(encode(error_reply("a", WireError(code, "x")))))


METRICS = json.loads(encode(RequestMetrics()))
DONE = {"id": "a", "type": "done", "final": True, "done": True, "finish_reason": "stop",
        "tokens_generated": 1, "metrics": METRICS}  # fmt: skip
TOKEN = {"id": "a", "type": "token", "seq": 0, "token": "x", "token_id": 1}
ERROR = {"code": "internal", "message": "x", "retryable": False, "data": {}}
WRONG_REPLIES: list[dict[str, Any]] = [
    {},
    {"id": "a"},
    {**TOKEN, "seq": -1},
    {**TOKEN, "seq": 0.5},
    {**TOKEN, "token": None},
    {**TOKEN, "id": None},
    {**TOKEN, "id": 5},
    {**TOKEN, "type": "tokens"},
    {**DONE, "final": False},
    {**DONE, "done": False},
    {**DONE, "finish_reason": "eos"},
    {**DONE, "finish_reason": "cancelled"},
    {**DONE, "finish_reason": "cancelled", "stage": "decoding"},
    {**DONE, "metrics": {}},
    {"id": "a", "type": "error", "final": True, "error": "text"},
    {"id": "a", "type": "error", "final": True, "error": {**ERROR, "code": "eaten"}},
    {"id": "a", "type": "error", "final": True, "error": {**ERROR, "code": "worker_crashed"}},
    {"id": "a", "type": "error", "error": ERROR},
    {"type": "error", "final": True, "error": ERROR},
    {"id": "a", "type": "result", "final": True},
    {"id": "a", "type": "result", "final": True, "ok": False},
    {"id": "a", "type": "result", "final": True, "outcome": "maybe", "cancelled": 0},
    {"id": "a", "type": "progress", "stage": "load", "done": -1, "total": 1},
    {"id": "a", "type": "event", "event": "heartbeat", "data": {}},
]


def test_a_right_reply_is_valid_before_it_is_made_wrong() -> None:
    REPLY.validate(DONE)
    REPLY.validate(TOKEN)
    REPLY.validate({**DONE, "finish_reason": "cancelled", "stage": "decode"})
    REPLY.validate({"id": None, "type": "error", "final": True, "error": ERROR})


@pytest.mark.parametrize("message", WRONG_REPLIES)
def test_a_wrong_reply_is_not_valid(message: dict[str, Any]) -> None:
    assert not REPLY.is_valid(message)


@given(requests())
def test_what_is_accepted_is_valid(fields: dict[str, Any]) -> None:
    REQUEST.validate({"id": "a", **fields})


@given(near_misses())
def test_the_schema_and_the_worker_agree_on_near_misses(fields: dict[str, Any]) -> None:
    fields = json.loads(json.dumps(fields))
    if not isinstance(fields.get("cmd"), str) or "id" not in fields or _integral(fields):
        return
    try:
        convert_command(fields)
        accepted = True
    except WireError:
        accepted = False
    assert REQUEST.is_valid(fields) is accepted


def _integral(value: Any) -> bool:
    """Return True if a float stands where JSON Schema sees an integer (5.0)."""
    if isinstance(value, dict):
        return any(map(_integral, value.values()))
    if isinstance(value, list):
        return any(map(_integral, value))
    return isinstance(value, float)
