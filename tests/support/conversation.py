"""A host's half of a conversation in dialect 1, whatever carries the lines.

It keeps every message by id and fails on one that comes after its id's final.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import Any

from .patience import PATIENCE_SECONDS

Message = dict[str, Any]
ENDLESS = {"prompt": "la la", "ignore_eos": True, "max_tokens": 10**9}
"""Fields of a `generate` that runs until something ends it."""


class Conversation:
    """Sends requests and sorts replies. A subclass implements the two methods that move lines."""

    def __init__(self) -> None:
        self.messages: dict[str | None, list[Message]] = defaultdict(list)
        self.order: list[Message] = []
        self._sent = 0

    def write(self, line: bytes) -> None:
        """Send bytes as they are."""
        raise NotImplementedError

    def read_line(self, timeout: float) -> bytes:
        """Return the next line; nothing at the end of the output. Raises: TimeoutError."""
        raise NotImplementedError

    def send(self, cmd: str, *, request_id: str | None = None, **fields: Any) -> str:
        """Send a request under a new id, and return that."""
        if request_id is None:
            self._sent += 1
            request_id = f"{cmd}-{self._sent}"
        self.write(json.dumps({"id": request_id, "cmd": cmd, **fields}).encode() + b"\n")
        return request_id

    def receive(self, timeout: float = PATIENCE_SECONDS) -> Message:
        """Receive the next message of any id."""
        line = self.read_line(timeout)
        assert line, "the worker's output ended"
        message: Message = json.loads(line)
        earlier = self.messages[message.get("id")]
        if message.get("id") is not None:
            assert not (earlier and earlier[-1].get("final")), f"{message} came after its final"
        earlier.append(message)
        self.order.append(message)
        return message

    def final(self, request_id: str, timeout: float = PATIENCE_SECONDS) -> Message:
        """Wait for the final message of an id, which may have come already."""
        return self.until(lambda message: message.get("final", False), request_id, timeout)

    def first_token(self, request_id: str) -> Message:
        """Wait for the first token of an id: its text is being generated now."""
        return self.until(lambda message: message["type"] == "token", request_id)

    def until(
        self, wanted: Any, request_id: str | None, timeout: float = PATIENCE_SECONDS
    ) -> Message:
        """Wait for the first message of an id that is ``wanted``."""
        seen = 0
        deadline = time.monotonic() + timeout
        while True:
            for message in self.messages[request_id][seen:]:
                if wanted(message):
                    return message
            seen = len(self.messages[request_id])
            self.receive(max(deadline - time.monotonic(), 0.0))

    def drain(self) -> list[Message]:
        """Receive everything up to the end of the worker's output."""
        while line := self.read_line(PATIENCE_SECONDS):
            message = json.loads(line)
            self.messages[message.get("id")].append(message)
            self.order.append(message)
        return self.order

    def text(self, request_id: str) -> str:
        """Return the text of an id, from the tokens that have come."""
        return "".join(m["token"] for m in self.messages[request_id] if m["type"] == "token")

    def finals(self, request_id: str) -> list[Message]:
        """Return all final messages of an id; there must be one."""
        return [message for message in self.messages[request_id] if message.get("final")]

    def ask(self, cmd: str, **fields: Any) -> Message:
        """Send and wait for the final."""
        return self.final(self.send(cmd, **fields))

    def hello(self, **fields: Any) -> Message:
        """Shake hands."""
        result = self.ask("hello", protocols=[1], **fields)
        assert result["type"] == "result", result
        return result

    def load(self, path: str = "model", **fields: Any) -> Message:
        """Load, which must succeed."""
        result = self.ask("load", path=path, **fields)
        assert result["type"] == "result", result
        return result
