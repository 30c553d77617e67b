"""Tracks open requests and token counts for the faulty reader and the faulty writer."""

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
"""The phase of each command; all other commands are in phase `request`."""


class Request(NamedTuple):
    """One request from the host. ``target`` is the target's id of a `cancel` or `credit`."""

    id: str
    command: str
    target: str | None

    @property
    def phase(self) -> Phase:
        """Return the phase of a fault script that this request belongs to."""
        return PHASES.get(self.command, "request")


class Dialogue:
    """The open requests by id, and the next `seq` of each."""

    def __init__(self) -> None:
        self._open: dict[str, Request] = {}
        self._next_seq: dict[str, int] = {}

    def hear(self, line: bytes) -> Request | None:
        """Record a line from the host; return None if it is not a request with a new id."""
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
        """Record a reply and return the request that it answers, if that is open."""
        request = self._open.get(message.get("id") or "")
        if request is not None and message.get("type") == "token":
            self._next_seq[request.id] = message["seq"] + 1
        if request is not None and message.get("final"):
            del self._open[request.id]
        return request

    def is_open(self, request_id: str | None) -> bool:
        """Return True if the request is known and has no final yet."""
        return request_id in self._open

    def next_seq(self, request_id: str) -> int:
        """Return the `seq` of the request's next token."""
        return self._next_seq.get(request_id, 0)
