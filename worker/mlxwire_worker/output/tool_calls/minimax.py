"""Calls as MiniMax M2 writes them: one section with an `<invoke>` for each call."""

from __future__ import annotations

from typing import ClassVar

from .syntax.invocations import Invocations


class MiniMax(Invocations):
    """A section between `<minimax:tool_call>` and its end."""

    name: ClassVar[str] = "minimax"
    enforces_strict: ClassVar[bool] = False
    openings: tuple[str, ...] = ("<minimax:tool_call>",)
