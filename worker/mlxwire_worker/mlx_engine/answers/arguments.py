"""Checks the arguments of tool calls against the schemas of their tools."""

from __future__ import annotations

import msgspec

from ...output.tool_calls.family import Tools


class ArgumentChecks:
    """The compiled schemas of one request's tools.

    Raises: WireError ``invalid_params`` for ``parameters`` that are no valid schema.
    """

    def __init__(self, tools: Tools) -> None:
        # Slow to import, and most chats have no tools.
        from ..constraints.json_schema.validation import Validator

        self._validators = {
            tool.name: Validator(tool.parameters, field=f"tools[{place}].function.parameters")
            for place, tool in enumerate(tools)
            if tool.parameters
        }

    def problem(self, name: str, arguments: str) -> str | None:
        """Return what is wrong with the arguments of a call; None if they fit."""
        validator = self._validators.get(name)
        return None if validator is None else validator.problem(arguments)


class KeptChecks:
    """Keeps the checks of the last tools: the rounds of a conversation have the same ones."""

    def __init__(self) -> None:
        self._last: tuple[bytes, ArgumentChecks] | None = None

    def of(self, tools: Tools) -> ArgumentChecks:
        """Return the checks of some tools. Raises: WireError, as `ArgumentChecks` does."""
        key = msgspec.json.encode(list(tools))
        if self._last is None or self._last[0] != key:
            self._last = key, ArgumentChecks(tools)
        return self._last[1]
