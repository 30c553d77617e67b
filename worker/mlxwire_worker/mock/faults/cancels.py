"""Cancels that don't end as the wire says: without a final, or after one that was faster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .dialogue import Dialogue, Request
from .script import HeardFault, Race, Unended


class Cancels:
    """Keeps back, changes and reorders the replies around a cancel."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._unended: set[str] = set()
        self._racing: dict[str, str] = {}
        """The target of each cancel that has to lose its race."""
        self._answers: dict[str, dict[str, Any]] = {}
        """Answers to such cancels, by the target whose final they wait for."""

    def take(self, fault: HeardFault, request: Request) -> None:
        """A fault befalls this cancel."""
        if not self._dialogue.is_open(request.target) or request.target is None:
            return
        if isinstance(fault, Unended):
            self._unended.add(request.target)
        elif isinstance(fault, Race):
            self._racing[request.id] = request.target

    def in_order(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What is written now that this reply is due."""
        request_id: str = message.get("id") or ""
        if request_id in self._unended:
            return
        target = self._racing.get(request_id)
        if target is not None:
            self._answers[target] = message
            return
        answer = self._answers.pop(request_id, None) if message.get("final") else None
        if answer is None:
            yield message
            return
        message["finish_reason"] = "length"
        message.pop("stage", None)
        yield message
        answer.update(outcome="finished", cancelled=0)
        yield answer
