"""Short ways to hold a `WorkerConnection` in a test."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from mlxwire_protocol import Accepted, Answer, Greeted, WorkerConnection
from mlxwire_protocol.events import Event
from mlxwire_protocol.messages import Command
from mlxwire_protocol.results import Limits, WorkerIdentity

HELLO = {"id": "h", "cmd": "hello", "protocols": [1]}
IDENTITY = WorkerIdentity(name="test", version="0", pid=1, engine="mock")
CAPABILITIES: dict[str, Any] = {"generate": True, "hub": False, "labels": {}}


def connection(
    *, max_inflight: int = 8, max_line_bytes: int = 4096, greeted: bool = False
) -> WorkerConnection:
    """Return a worker's end, after its handshake if ``greeted``."""
    limits = Limits(max_line_bytes=max_line_bytes, max_inflight=max_inflight)
    made = WorkerConnection(
        IDENTITY, limits=limits, capabilities=CAPABILITIES, events=frozenset({"heartbeat"})
    )
    if greeted:
        (event,) = send(made, HELLO)
        assert isinstance(event, Greeted)
    return made


def line(message: Any) -> bytes:
    """Return a message, or bytes as they are, with the end of a line."""
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    return raw + b"\n"


def send(worker: WorkerConnection, *messages: Any) -> list[Event]:
    """Give messages to the worker's end; return its events."""
    return list(worker.receive(b"".join(map(line, messages))))


def answers(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the replies in the events."""
    return [json.loads(event.line) for event in events if isinstance(event, Answer | Greeted)]


def commands(events: Iterable[Event]) -> list[Command]:
    """Return the requests in the events."""
    return [event.command for event in events if isinstance(event, Accepted)]


def codes(events: Iterable[Event]) -> list[tuple[str | None, str]]:
    """Return id and code of each error among the replies."""
    return [(answer["id"], answer["error"]["code"]) for answer in answers(events)]
