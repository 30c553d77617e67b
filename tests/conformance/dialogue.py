"""Checks of what passed between a client and its worker, as the proxy has recorded it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from mlxwire_protocol import WireError
from mlxwire_protocol.commands import COMMANDS
from mlxwire_protocol.framing import DEFAULT_MAX_LINE_BYTES
from mlxwire_protocol.request_state import RequestState
from mlxwire_protocol.schema import protocol_schema

from .cases import Failure

CHECKED_TOKENS = 20
"""A flood of tokens is alike; so many are held against the schema."""


class Dialogue:
    """The messages of both sides, in the order in which they passed."""

    def __init__(self, record: list[dict[str, Any]]) -> None:
        self.pid: int | None = record[0]["pid"] if record else None
        self.lines: list[tuple[str, str]] = [
            (entry["from"], entry["line"]) for entry in record[1:]
        ]
        self.messages: list[tuple[str, dict[str, Any]]] = []
        for source, line in self.lines:
            message = _object_of(line)
            if message is not None:
                self.messages.append((source, message))

    def requests(self, command: str | None = None) -> list[dict[str, Any]]:
        """Return the client's requests, or those of one command."""
        said = [message for source, message in self.messages if source == "host"]
        return [each for each in said if command in (None, each.get("cmd"))]

    def replies(self, kind: str, command: str) -> list[dict[str, Any]]:
        """Return the worker's replies of one type to one command."""
        ids = {request.get("id") for request in self.requests(command)}
        return [
            message
            for source, message in self.messages
            if source == "worker" and message.get("type") == kind and message.get("id") in ids
        ]

    def at_once(self, command: str) -> int:
        """Return the largest number of requests of a command that were open together."""
        running: set[Any] = set()
        most = 0
        for source, message in self.messages:
            if source == "host" and message.get("cmd") == command:
                running.add(message.get("id"))
                most = max(most, len(running))
            elif source == "worker" and message.get("final"):
                running.discard(message.get("id"))
        return most


def check_dialogue(dialogue: Dialogue) -> Iterator[Failure]:
    """Yield each breach of the rules for all scenarios with a good worker."""
    yield from _check_lines(dialogue)
    yield from _check_order(dialogue)
    yield from _check_replies(dialogue)


def _check_lines(dialogue: Dialogue) -> Iterator[Failure]:
    tokens = 0
    for source, line in dialogue.lines:
        message = _object_of(line)
        if message is None:
            yield Failure("lines", f"the {source} wrote no JSON object: {line[:100]!r}")
            continue
        if len(line.encode()) > DEFAULT_MAX_LINE_BYTES:
            yield Failure("lines", f"the {source} wrote a line of {len(line.encode())} bytes")
        if message.get("type") == "token":
            tokens += 1
            if tokens > CHECKED_TOKENS:
                continue
        wrong = _schema_of(source, message).iter_errors(message)
        if (error := best_match(wrong)) is not None:
            yield Failure("schema", f"the {source} wrote {line[:200]}: {error.message}")


def _check_order(dialogue: Dialogue) -> Iterator[Failure]:
    requests = dialogue.requests()
    commands = [request.get("cmd") for request in requests]
    if commands[:1] != ["hello"]:
        yield Failure("handshake", f"the first request is {commands[:1]}, not hello")
    if commands[-1:] != ["quit"]:
        yield Failure("quit", f"the last request is {commands[-1:]}, not quit")
    ids = [request.get("id") for request in requests]
    for twice in {each for each in ids if ids.count(each) > 1}:
        yield Failure("ids", f"the id {twice!r} was used {ids.count(twice)} times")


def _check_replies(dialogue: Dialogue) -> Iterator[Failure]:
    states: dict[Any, RequestState] = {}
    for source, message in dialogue.messages:
        own = message.get("id")
        if source == "host":
            states.setdefault(own, RequestState(str(own)))
            continue
        if own is None:
            if message.get("type") != "event":
                yield Failure(
                    "replies", f"the worker could not tell what it was asked: {message}"
                )
            continue
        try:
            states[own].advance(str(message.get("type")), message)
        except (WireError, KeyError) as error:
            yield Failure("replies", f"{error}")
    for own, state in states.items():
        if not state.ended:
            yield Failure("replies", f"{own!r} has no final message")


def _object_of(line: str) -> dict[str, Any] | None:
    try:
        message = json.loads(line, parse_constant=_refuse)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _schema_of(source: str, message: dict[str, Any]) -> Draft202012Validator:
    """Return a request's own schema, so that a complaint names the field."""
    row = COMMANDS.get(str(message.get("cmd")))
    if source == "host":
        return _validator(row.request.__name__ if row is not None else "request")
    return _validator("reply")


@cache
def _validator(definition: str) -> Draft202012Validator:
    schema = {**protocol_schema(), "anyOf": [{"$ref": f"#/$defs/{definition}"}]}
    return Draft202012Validator(schema)
