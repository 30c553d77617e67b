"""Checks the turns of a conversation, and converts them to the objects that templates read.

A turn has only the keys that the host set. A tool's result also gets the name of the tool whose
call it answers, since some templates write it and OpenAI's hosts leave it out.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mlxwire_protocol import WireError, invalid_params
from mlxwire_protocol.chat.turns import Message, TurnCall

MOST_NESTED = 100
"""The deepest accepted nesting of arguments and schemas."""


def plain_turns(messages: list[Message], field: str = "messages") -> list[dict[str, Any]]:
    """Return the turns of a conversation as objects; ``content`` is always a text.

    ``field`` is the conversation's name in errors.
    Raises: WireError ``invalid_params`` for a field that the turn's role can't have.
    """
    calls = _Calls()
    return [_turn(message, f"{field}[{n}]", calls) for n, message in enumerate(messages)]


def parsed_arguments(arguments: str | dict[str, Any], field: str) -> dict[str, Any]:
    """Return the arguments of a call as an object; an empty text is an empty object.

    Raises: WireError ``invalid_params`` if a text is no JSON object.
    """
    if isinstance(arguments, str):
        try:
            parsed = msgspec.json.decode(arguments) if arguments.strip() else {}
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise _bad_arguments(field, f"no JSON ({error})") from None
        if not isinstance(parsed, dict):
            raise _bad_arguments(field, f"JSON, but no object: {arguments[:80]}")
        arguments = parsed
    check_nesting(arguments, field)
    return arguments


def check_nesting(value: object, field: str) -> None:
    """Refuse a value that is nested too deeply. Raises: WireError ``invalid_params``."""
    level = [value]
    for _ in range(MOST_NESTED):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
    raise invalid_params(
        field, f"`{field}` is nested more than {MOST_NESTED} levels deep; make it flatter"
    )


def _inner(value: object) -> list[object]:
    found = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    return [inner for inner in found if isinstance(inner, dict | list)]


class _Calls:
    """The calls of the turns so far, by id, and those without a result, in their order."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._unanswered: list[TurnCall] = []

    def begin(self, calls: list[TurnCall]) -> None:
        """Note the calls of a turn."""
        self._names.update({call.id: call.function.name for call in calls if call.id})
        self._unanswered = list(calls)

    def answered(self, call_id: str | None, field: str) -> tuple[str | None, str | None]:
        """Return the id and the tool's name of the call that a result answers, as far as known.

        A result without an id answers the first call that has no result yet. Raises: WireError
        ``invalid_params`` for an id that no call before has.
        """
        if not call_id:
            if not self._unanswered:
                return None, None
            call = self._unanswered.pop(0)
            return call.id or None, call.function.name
        self._unanswered = [call for call in self._unanswered if call.id != call_id]
        if self._names and call_id not in self._names:
            raise invalid_params(
                f"{field}.tool_call_id",
                f"`{field}.tool_call_id` is {call_id!r}, but no call before has that `id`; give the "
                "`id` of the call that the result answers",
            )
        return call_id, self._names.get(call_id)


def _turn(message: Message, field: str, calls: _Calls) -> dict[str, Any]:
    _check_role(message, field)
    turn: dict[str, Any] = {"role": message.role, "content": _content(message)}
    if message.name is not None:
        turn["name"] = message.name
    if message.reasoning_content:
        turn["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        turn["tool_calls"] = [
            _call(call, f"{field}.tool_calls[{n}]") for n, call in enumerate(message.tool_calls)
        ]
        calls.begin(message.tool_calls)
    if message.role == "tool":
        call_id, name = calls.answered(message.tool_call_id, field)
        if call_id is not None:
            turn["tool_call_id"] = call_id
        if name is not None:
            turn.setdefault("name", name)
    return turn


def _check_role(message: Message, field: str) -> None:
    """Refuse a field that belongs to turns of another role."""
    for name, role, given in (
        ("tool_calls", "assistant", bool(message.tool_calls)),
        ("reasoning_content", "assistant", bool(message.reasoning_content)),
        ("tool_call_id", "tool", message.tool_call_id is not None),
    ):
        if given and message.role != role:
            raise invalid_params(
                f"{field}.{name}",
                f"`{field}` has `{name}`, but its role is {message.role!r}; only turns of the role "
                f"`{role}` have `{name}`: leave it out, or correct the role",
            )


def _content(message: Message) -> str:
    content = message.content or ""
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _call(call: TurnCall, field: str) -> dict[str, Any]:
    function = call.function
    parsed_arguments(function.arguments, f"{field}.function.arguments")
    turned: dict[str, Any] = {"id": call.id} if call.id else {}
    called = {"name": function.name, "arguments": function.arguments}
    return {**turned, "type": "function", "function": called}


def _bad_arguments(field: str, problem: str) -> WireError:
    return invalid_params(
        field, f"`{field}` is {problem}; give a JSON object, as text or as it is"
    )
