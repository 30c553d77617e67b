"""Errors with which `run_tools` ends without an answer."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidAnswer
from ..results import Done


class TooManyRounds(InvalidAnswer):
    """The model still called tools after ``max_rounds`` of `run_tools`.

    ``messages``: the conversation so far, with the results of all calls.
    """

    def __init__(
        self, message: str, *, messages: list[dict[str, Any]] | None = None, **details: Any
    ) -> None:
        super().__init__(message, **details)
        self.messages = [] if messages is None else messages


class CallCutOff(InvalidAnswer):
    """`max_tokens` cut a tool call of `run_tools`; no function of that answer was run.

    ``text``: the text of the answer. ``done``: its end, whose ``tool_error.text`` is the cut call and
    whose ``tool_calls`` are the whole ones before it. ``messages``: the conversation before the
    answer, for another `run_tools` with more ``max_tokens``.
    """

    def __init__(
        self,
        message: str,
        *,
        messages: list[dict[str, Any]] | None = None,
        done: Done | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.messages = [] if messages is None else messages
        self.done = done
