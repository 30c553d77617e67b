"""Models whose caches can't be cut, with chat templates, and chats that grow by a question a turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from factories import build_model
from factories.templates import QWEN2, QWEN3
from zoo.builder import build

TEMPLATES = {"qwen3_next": QWEN3, "mamba2": QWEN2, "lfm2": QWEN2, "gpt_oss": QWEN2}
UNCUT = (*TEMPLATES, "gemma3")
"""Recurrent layers beside attention, recurrent alone, convolutions, and sliding windows twice."""
SYSTEM = {
    "role": "system",
    "content": "You are a careful helper who answers briefly, in plain words and in good faith.",
}


def build_chat_model(name: str, folder: Path) -> Path:
    """Write one of the models of `UNCUT` into a folder, and return it."""
    if name not in TEMPLATES:
        return build_model(name, folder)
    built = build(name, folder)
    (built / "chat_template.jinja").write_text(TEMPLATES[name])
    return built


def question(number: int) -> dict[str, Any]:
    return {"role": "user", "content": f"Question {number}: how is {number}?"}


def answer(number: int) -> dict[str, Any]:
    return {"role": "assistant", "content": f"It rains {number}."}


def chat_of(turns: int) -> list[dict[str, Any]]:
    """Return a chat whose last question is the ``turns``-th, with the answers before it."""
    messages = [SYSTEM]
    for number in range(turns):
        messages += [question(number), answer(number)]
    return messages[:-1] if turns else messages
