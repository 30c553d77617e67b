"""The forms in which one chat template reads tools, calls, results and thoughts.

Templates read OpenAI's fields differently: arguments as an object or as text, a turn without text
as null or as an empty text, one call a turn or several, thoughts under three names.
"""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from mlxwire_protocol import WireError

from ...requests.turns import parsed_arguments

ABSENT = "absent"
Turn = dict[str, Any]
Apart = Literal["together", "apart", "lost"]
"""The ways in which a template renders two things of one turn: together, in two turns, or one alone."""


class TurnForms(NamedTuple):
    """The forms that a template reads.

    ``calls`` and ``results`` are False if the template drops them silently. If it refuses them, they
    are True, so that the host is shown the template's own words. ``empty_content`` is the content of a
    turn that has only calls: "", None, or `ABSENT` for no such key. ``text_beside_calls`` and
    ``several_calls`` say how one turn can have them. ``thoughts`` are the names under which the
    template reads a turn's thoughts; with ``thoughts_or_text`` it accepts either thoughts or text
    beside calls.
    """

    calls: bool = True
    results: bool = True
    arguments_as_text: bool = False
    empty_content: str | None = ""
    text_beside_calls: Apart = "together"
    several_calls: Apart = "together"
    thoughts: tuple[str, ...] = ("reasoning_content",)
    thoughts_or_text: bool = False

    def turns(self, messages: list[Turn]) -> list[Turn]:
        """Return a conversation as the template reads it.

        Raises: WireError ``unsupported_capability`` for a turn that the template would drop.
        """
        if not any(len(message) > 2 or message["role"] == "tool" for message in messages):
            return messages
        turns: list[Turn] = []
        for place, message in enumerate(messages):
            self._check(message, f"messages[{place}]")
            turns += self._split(message)
        if self.several_calls == "apart":
            turns = _one_call_a_turn(turns)
        return [self._turn(turn) for turn in turns]

    def _check(self, message: Turn, field: str) -> None:
        calls = message.get("tool_calls", [])
        if calls and not self.calls:
            raise _dropped(f"{field}.tool_calls", "tool calls", "leave this turn out")
        if message["role"] == "tool" and not self.results:
            raise _dropped(
                f"{field}.role", "results of tools", "send the result in a turn of the user"
            )
        if len(calls) > 1 and self.several_calls == "lost":
            raise _dropped(
                f"{field}.tool_calls", "several calls of one turn", "send one call a turn"
            )
        if calls and message["content"] and self.text_beside_calls == "lost":
            raise _dropped(
                f"{field}.content", "text beside tool calls", "leave `content` out of this turn"
            )

    def _split(self, message: Turn) -> list[Turn]:
        """Return the turn, or its text and its calls as two turns."""
        both = "tool_calls" in message and message["content"]
        if not both or self.text_beside_calls != "apart":
            return [message]
        text = {key: value for key, value in message.items() if key != "tool_calls"}
        calls = {"role": message["role"], "content": "", "tool_calls": message["tool_calls"]}
        return [text, calls]

    def _turn(self, message: Turn) -> Turn:
        turn = dict(message)
        thoughts = turn.pop("reasoning_content", None)
        calls = turn.get("tool_calls")
        if thoughts and calls and turn["content"] and self.thoughts_or_text:
            thoughts = f"{thoughts}\n\n{turn['content']}"
            turn["content"] = ""
        if thoughts:
            turn.update(dict.fromkeys(self.thoughts, thoughts))
        if calls:
            turn["tool_calls"] = [self._call(call) for call in calls]
            if not turn["content"]:
                turn["content"] = self.empty_content
                if self.empty_content == ABSENT:
                    del turn["content"]
        return turn

    def _call(self, call: Turn) -> Turn:
        function = call["function"]
        arguments = function["arguments"]
        if not self.arguments_as_text:
            arguments = parsed_arguments(arguments, "arguments")
        elif not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        elif not arguments.strip():
            arguments = "{}"
        return {**call, "function": {**function, "arguments": arguments}}


def _one_call_a_turn(turns: list[Turn]) -> list[Turn]:
    """Give each call a turn of its own, followed by its result.

    The results are matched by id, or else by their order. What can't be matched stays behind.
    """
    split: list[Turn] = []
    place = 0
    while place < len(turns):
        turn = turns[place]
        place += 1
        calls = turn.get("tool_calls", [])
        if len(calls) < 2:
            split.append(turn)
            continue
        end = place
        while end < len(turns) and turns[end]["role"] == "tool":
            end += 1
        results, place = turns[place:end], end
        for number, call in enumerate(calls):
            first = turn if number == 0 else {"role": turn["role"], "content": ""}
            split.append({**first, "tool_calls": [call]})
            found = _result_of(call, results)
            if found is not None:
                results.remove(found)
                split.append(found)
        split += results
    return split


def _result_of(call: Turn, results: list[Turn]) -> Turn | None:
    own = call.get("id")
    if own is None:
        return results[0] if results and "tool_call_id" not in results[0] else None
    return next((result for result in results if result.get("tool_call_id") == own), None)


def _dropped(field: str, what: str, remedy: str) -> WireError:
    return WireError(
        "unsupported_capability",
        f"`{field}`: the chat template of this model does not render {what}, so the model would not "
        f"see them; {remedy}, or use a model whose template knows tools",
        data={"missing": ["tools"], "field": field},
    )
