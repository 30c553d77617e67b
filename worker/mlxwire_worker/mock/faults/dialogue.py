"""Tracks open requests and token counts for the faulty reader and the faulty writer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
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
UNANSWERED = frozenset({"cancel", "quit"})
"""The commands of dialect 0 without a reply of their own."""


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
    """The open requests by id, and the next `seq` of each.

    Requests of dialect 0 get ids here. They are answered one after the other, so each reply belongs
    to the oldest. ``on_dialect0`` is called when the first object shows that dialect.
    """

    def __init__(self, on_dialect0: Callable[[], None]) -> None:
        self._on_dialect0 = on_dialect0
        self._is_dialect0: bool | None = None
        self._open: dict[str, Request] = {}
        self._serial: deque[Request] = deque()
        self._heard = 0
        self._next_seq: dict[str, int] = {}

    def hear(self, line: bytes) -> Request | None:
        """Record a line from the host; return None if it is not a request with a new id."""
        try:
            message = orjson.loads(line)
        except ValueError:
            message = None
        if self._is_dialect0 is None and isinstance(message, dict):
            self._is_dialect0 = message.get("id") is None
            if self._is_dialect0:
                self._on_dialect0()
        # Lines before the first object are answered as in dialect 0, whatever comes after them.
        request = (
            _request(message)
            if self._is_dialect0 is False
            else self._dialect0_request(message, line)
        )
        if request is not None and request.id in self._open:
            return None
        if request is not None:
            self.open(request)
        return request

    def open(self, request: Request) -> None:
        """Record a request whose reply is due."""
        if self._is_dialect0 is False:
            self._open[request.id] = request
        elif request.command not in UNANSWERED:
            self._serial.append(request)

    def forget(self, request: Request) -> None:
        """Remove a request that the worker does not hear, or not yet."""
        self._open.pop(request.id, None)
        if request in self._serial:
            self._serial.remove(request)

    def request_of(self, message: dict[str, Any]) -> Request | None:
        """Return the open request that a reply answers."""
        request = self._open.get(message.get("id") or "")
        return request or next(iter(self._serial), None)

    def type_of(self, message: dict[str, Any]) -> str:
        """Return a reply's type; one of dialect 0 shows it by its fields alone."""
        if "type" in message:
            return str(message["type"])
        return next((name for name in ("token", "done", "error") if name in message), "result")

    def answered(self, message: dict[str, Any]) -> Request | None:
        """Record a reply and return the request that it answers, if that is open."""
        request, kind = self.request_of(message), self.type_of(message)
        if request is None:
            return None
        if kind == "token":
            self._next_seq[request.id] = message.get("seq", 0) + 1
        if message.get("final") or ("type" not in message and kind != "token"):
            self.forget(request)
        return request

    def is_open(self, request_id: str | None) -> bool:
        """Return True if the request is known and has no final yet."""
        return request_id in self._open or any(one.id == request_id for one in self._serial)

    def next_seq(self, request_id: str) -> int:
        """Return the `seq` of the request's next token."""
        return self._next_seq.get(request_id, 0)

    def token(self, request_id: str, seq: int) -> bytes:
        """Return the line of one more token of a request."""
        if self._is_dialect0:
            return b'{"token":"x","token_id":1}\n'
        return b'{"id":"%s","type":"token","seq":%d,"token":"x","token_id":1}\n' % (
            request_id.encode(),
            seq,
        )

    def _dialect0_request(self, message: object, line: bytes) -> Request | None:
        """Return a line of dialect 0 as a request; a line that is not blank is always answered."""
        if not line.strip():
            return None
        self._heard += 1
        command = message.get("cmd") if isinstance(message, dict) else None
        target = self._serial[0].id if command == "cancel" and self._serial else None
        return Request(f"d0-{self._heard}", command if isinstance(command, str) else "", target)


def _request(message: object) -> Request | None:
    """Return an object of dialect 1 as a request; None if it is no request."""
    if not isinstance(message, dict):
        return None
    request_id, command = message.get("id"), message.get("cmd")
    if not isinstance(request_id, str) or not isinstance(command, str):
        return None
    return Request(request_id, command, message.get("target"))
