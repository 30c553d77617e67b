"""A host of the older wire, written from its description alone: no ids, one line after another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .driver import Driver
from .patience import PATIENCE_SECONDS


class NaiveHost:
    """Sends commands and reads the lines that follow, knowing nothing of dialect 1."""

    def __init__(self, worker: Driver) -> None:
        self.worker = worker

    def send(self, **request: Any) -> None:
        self.worker.write(json.dumps(request).encode() + b"\n")

    def read(self) -> dict[str, Any]:
        reply: dict[str, Any] = json.loads(self.worker.read_line(PATIENCE_SECONDS))
        return reply

    def ask(self, **request: Any) -> dict[str, Any]:
        self.send(**request)
        return self.read()

    def stream(self) -> Iterator[dict[str, Any]]:
        """Yield lines up to the one `done`, or the one `error`."""
        while True:
            reply = self.read()
            yield reply
            if "done" in reply or "error" in reply:
                return

    def text(self) -> tuple[str, int]:
        """Return a stream's text and the count in its `done`; check that the lines agree."""
        *tokens, done = self.stream()
        assert done["done"] is True, done
        assert all(set(token) == {"token", "token_id"} for token in tokens)
        assert len(tokens) == done["tokens_generated"]
        return "".join(token["token"] for token in tokens), len(tokens)
