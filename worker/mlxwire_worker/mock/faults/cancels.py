"""Faults of cancels: the target gets no final, or ends before the cancel is answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .dialogue import Dialogue, Request
from .script import HeardFault, Race, Unended


class Cancels:
    """Drops, changes and reorders the replies to cancels and to their targets."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._unended: set[str] = set()
        self._racing: dict[str, str] = {}
        """Maps the id of each cancel that must lose its race to the id of its target."""
        self._answers: dict[str, dict[str, Any]] = {}
        """Maps a target's id to the answer of such a cancel, held until the target's final."""

    def take(self, fault: HeardFault, request: Request) -> None:
        """Register a fault of this cancel, if its target is in flight."""
        if not self._dialogue.is_open(request.target) or request.target is None:
            return
        if isinstance(fault, Unended):
            self._unended.add(request.target)
        elif isinstance(fault, Race):
            self._racing[request.id] = request.target

    def in_order(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the replies to write now, instead of this one."""
        request = self._dialogue.request_of(message)
        request_id: str = request.id if request else message.get("id") or ""
        if request_id in self._unended:
            self._dialogue.answered(message)
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
