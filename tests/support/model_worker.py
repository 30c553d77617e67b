"""A worker process with the real engine, for all the tests that do not end it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conversation import Message
from .driver import Driver

Models = Callable[..., Path]


class ModelWorker(Driver):
    """A worker with the real engine that remembers what it has loaded."""

    def __init__(self, *arguments: str) -> None:
        super().__init__(*arguments)
        self.hello()
        self._loaded: tuple[Any, ...] = ()

    def use(self, path: Path, **options: Any) -> ModelWorker:
        """Load a model unless it is loaded already."""
        wanted = (path, sorted(options.items()))
        if self._loaded != wanted:
            self.load(str(path), **options)
            self._loaded = wanted
        return self

    def ask(self, cmd: str, **fields: Any) -> Message:
        """Send a request, wait for its final, and note whether the loaded model changed."""
        final = super().ask(cmd, **fields)
        if cmd in ("load", "unload") and final["type"] != "error":
            self._loaded = ()
        return final

    def generate(self, prompt: str, **options: Any) -> tuple[str, list[int]]:
        """Return text and ids of a raw prompt's continuation."""
        return self._answer(self.send("generate", prompt=prompt, **options))

    def chat(self, messages: list[dict[str, str]], **options: Any) -> tuple[str, list[int]]:
        """Return text and ids of a conversation's next turn."""
        return self._answer(self.send("chat", messages=messages, **options))

    def refusal(self, cmd: str, **fields: Any) -> Message:
        """Return the error that a request ends with."""
        final = self.ask(cmd, **fields)
        assert final["type"] == "error", final
        error: Message = final["error"]
        return error

    def _answer(self, request_id: str) -> tuple[str, list[int]]:
        final = self.final(request_id)
        assert final["type"] == "done", final
        tokens = [m for m in self.messages[request_id] if m["type"] == "token"]
        ids = [token["token_id"] for token in tokens if not token.get("flush")]
        assert len(ids) == final["tokens_generated"]
        return self.text(request_id), ids


@pytest.fixture(scope="session")
def worker() -> Iterator[ModelWorker]:
    """Yield one worker for all the tests that do not end it."""
    with ModelWorker() as shared:
        yield shared


@pytest.fixture
def loaded(worker: ModelWorker, models: Models) -> ModelWorker:
    """Have a sound model loaded in the shared worker."""
    return worker.use(models("qwen3"))
