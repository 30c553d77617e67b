"""Checks of a worker that is told to load a folder that is no sound model."""

from __future__ import annotations

from pathlib import Path

from .model_worker import ModelWorker

PROMPT = "The weather in Paris is"
REMEDIES = (
    "copy",
    "download",
    "remove",
    "convert",
    "mend",
    "give",
    "use",
    "load",
    "ask",
    "save",
    "--allow-hub",
)


def assert_refused(worker: ModelWorker, path: Path | str, code: str, reason: str | None) -> str:
    """Load ``path``; check the one typed error, and that the model from before still answers.

    Returns: the error's message.
    """
    before = worker.generate(PROMPT, max_tokens=4)
    info = worker.ask("info")
    error = worker.refusal("load", path=str(path))

    assert (error["code"], error["data"].get("reason")) == (code, reason), error
    message: str = error["message"]
    assert any(word in message.lower() for word in REMEDIES), message
    assert "Traceback" not in message
    assert len(message) < 1000
    assert {**worker.ask("info"), "id": None} == {**info, "id": None}
    assert worker.generate(PROMPT, max_tokens=4) == before
    return message
