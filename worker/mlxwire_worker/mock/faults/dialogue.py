"""What was said so far, as far as faults need it; shared by the wire's two ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from .script import Phase

PHASES: dict[str, Phase] = {
    "hello": "start",
    "load": "load",
    "cancel": "cancel",
    "credit": "credit",
    "quit": "end",
}
"""Phases of commands; of all others it is `request`."""


class Request(NamedTuple):
    """One request of the host's; ``target`` is that of a `cancel` or `credit`."""

    id: str
    command: str
    target: str | None

    @property
    def phase(self) -> Phase:
        """Which part of a worker's life it belongs to."""
        return PHASES.get(self.command, "request")


class Dialogue:
    """Requests by id, and the `seq` that is due for each."""

    def __init__(self) -> None:
        self._open: dict[str, Request] = {}
        self._next_seq: dict[str, int] = {}

    def hear(self, line: bytes) -> Request | None:
        """Take a line of the host's; None where it is no request with an id."""
        try:
            message = orjson.loads(line)
            request = Request(message["id"], message["cmd"], message.get("target"))
        except (ValueError, TypeError, KeyError):
            return None
        if not isinstance(request.id, str) or request.id in self._open:
            return None
        self._open[request.id] = request
        return request

    def answered(self, message: dict[str, Any]) -> Request | None:
        """Take a reply; the request that it belongs to."""
        request = self._open.get(message.get("id") or "")
        if request is not None and message.get("type") == "token":
            self._next_seq[request.id] = message["seq"] + 1
        if request is not None and message.get("final"):
            del self._open[request.id]
        return request

    def is_open(self, request_id: str | None) -> bool:
        """Whether a final is due."""
        return request_id in self._open

    def next_seq(self, request_id: str) -> int:
        """The `seq` of its next token."""
        return self._next_seq.get(request_id, 0)
