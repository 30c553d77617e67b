"""Finds out at load what a chat template renders of tools, calls, results and thoughts.

No list of families can know every template, so short conversations are rendered in several forms, and
the words in them are looked for in the text.
"""

from __future__ import annotations

import re
from itertools import product
from typing import Any, NamedTuple

from mlxwire_protocol import WireError

from ..text.chat_template import Templates
from ..text.thinking import Render
from .turn_forms import ABSENT, Apart, Turn, TurnForms

_NAME, _KEY, _VALUE, _RESULT, _SAID = (
    "probed_tool",
    "probed_key",
    "probed value",
    "probed sum",
    "probed text",
)
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Add.",
        "parameters": {
            "type": "object",
            "properties": {_KEY: {"type": "string", "description": "A number."}},
            "required": [_KEY],
        },
    },
}
_IDS = ("abcdefgh1", "abcdefgh2")
"""Mistral's templates accept ids of nine letters and digits alone."""
_SYSTEM: Turn = {"role": "system", "content": "Be brief."}
_NO_SYSTEM: Turn = {"role": "system", "content": ""}
_USER: Turn = {"role": "user", "content": "What is 2 and 3?"}
_THOUGHT_NAMES = ("reasoning_content", "reasoning", "thinking")


class ToolUse(NamedTuple):
    """The template for requests with tools, and the forms in which it reads their turns.

    With ``needs_system`` it renders tools only in a turn of the system.
    """

    template: str
    forms: TurnForms
    needs_system: bool


class Renders(NamedTuple):
    """The forms that a model's templates read; ``tools`` is None if none of them renders tools.

    ``behind_text`` is what a template writes behind the text of an assistant's turn, up to the text of
    the next turn, and ``behind_call`` what it writes behind the arguments of a call.
    """

    plain: TurnForms
    tools: ToolUse | None
    behind_text: str = ""
    behind_call: str = ""


def probe(templates: Templates, variables: dict[str, Any], render: Render) -> Renders:
    """Render conversations with and without tools, and return what the templates read.

    ``variables`` are the other variables of a template. Raises: WireError ``unavailable``.
    """
    without = _Probe(templates.default, {**variables, "tools": None}, render)
    plain, behind_text = without.forms(), without.behind_text()
    with_tools = _Probe(templates.tool_use, {**variables, "tools": [_TOOL]}, render)
    needs_system = with_tools.shows_tools()
    if needs_system is None:
        return Renders(plain, None, behind_text)
    use = ToolUse(templates.tool_use, with_tools.forms(), needs_system)
    return Renders(plain, use, behind_text, with_tools.behind_call(use.forms))


class _Probe:
    """One template with the variables of one kind of request."""

    def __init__(self, template: str, variables: dict[str, Any], render: Render) -> None:
        self._template = template
        self._variables = variables
        self._render = render
        self._thoughts = tuple(
            name for name in _THOUGHT_NAMES if re.search(rf"\b{name}\b", template)
        )
        self._before: list[Turn] = [_USER]

    def shows_tools(self) -> bool | None:
        """Return None if no conversation renders a tool; True if it must have a system's turn."""
        if not re.search(r"\btools\b", self._template):
            return None
        if _NAME in (self._text([_USER]) or ""):
            return False
        for system in (_NO_SYSTEM, _SYSTEM):
            if _NAME in (self._text([system, _USER]) or ""):
                return True
        return None

    def forms(self) -> TurnForms:
        """Return the forms of turns in which the template loses nothing."""
        found = TurnForms(thoughts=self._thoughts or ("reasoning_content",))
        results = self._shows_results()
        if "tool_calls" not in self._template:
            lost = self._text([_USER, *_called(found, "")]) is not None
            return found._replace(calls=not lost, results=results)
        chosen = self._form_of_calls(found)
        if chosen is None:
            lost = self._text([*self._before, *_called(found, "")]) is not None
            return found._replace(calls=not lost, results=results)
        chosen = chosen._replace(several_calls=self._several(chosen))
        chosen = self._beside_text(chosen)
        return chosen._replace(results=self._shows_results(chosen))

    def behind_text(self) -> str:
        """Return what follows the text of an assistant's turn, up to the text of the next turn."""
        said: Turn = {"role": "assistant", "content": _SAID}
        following: Turn = {"role": "user", "content": _RESULT}
        return _between(self._text([_USER, said, following]), _SAID, _RESULT)

    def behind_call(self, forms: TurnForms) -> str:
        """Return what follows the arguments of a call, up to the call's result."""
        if not (forms.calls and forms.results):
            return ""
        text = self._text([*self._before, *_called(forms, "")])
        return _between(text, f"{_VALUE}0", _RESULT)

    def _form_of_calls(self, forms: TurnForms) -> TurnForms | None:
        """Return the form in which a call is rendered well, and the shortest of several."""
        best: tuple[int, TurnForms] | None = None
        for system in ([], [_SYSTEM]):
            for empty, as_text in product(("", None, ABSENT), (False, True)):
                form = forms._replace(empty_content=empty, arguments_as_text=as_text)
                text = self._text([*system, _USER, *_called(form, "")])
                if text is None or not _well_rendered(text, as_text=as_text):
                    continue
                if best is None or (
                    as_text == best[1].arguments_as_text and len(text) < best[0]
                ):
                    best = (len(text), form)
            if best is not None:
                self._before = [*system, _USER]
                return best[1]
        return None

    def _several(self, forms: TurnForms) -> Apart:
        both = _called(forms, "", calls=2)
        if self._has_both(self._text([*self._before, *both])):
            return "together"
        apart = forms._replace(several_calls="apart")
        text = self._text([*self._before, *_called(apart, "", calls=2)])
        return "apart" if self._has_both(text) else "lost"

    def _has_both(self, text: str | None) -> bool:
        return text is not None and all(f"{_VALUE}{n}" in text for n in range(2))

    def _beside_text(self, forms: TurnForms) -> TurnForms:
        """Find out how text and thoughts can stand beside calls."""
        text = self._text([*self._before, *_called(forms, _SAID)])
        if text is None or f"{_VALUE}0" not in text:
            apart = forms._replace(text_beside_calls="apart")
            text = self._text([*self._before, *_called(apart, _SAID)])
            rendered = text is not None and f"{_VALUE}0" in text and _SAID in text
            return apart if rendered else forms._replace(text_beside_calls="lost")
        if self._text([*self._before, *_called(forms, _SAID, "thought")]) is None:
            return forms._replace(thoughts_or_text=True)
        return forms

    def _shows_results(self, forms: TurnForms | None = None) -> bool:
        """Return False if the template renders a tool's turn without the result."""
        answered = [{"role": "assistant", "content": "5"}, _result(0)]
        turns = answered if forms is None else _called(forms, "")
        text = self._text([*self._before, *turns])
        return text is None or _RESULT in text

    def _text(self, turns: list[Turn]) -> str | None:
        """Return the text of a conversation; None if the template refuses it."""
        try:
            return self._render(self._template, {**self._variables, "messages": turns})
        except WireError as error:
            if error.code != "invalid_params":
                raise
            return None


def _called(
    forms: TurnForms, content: str, thoughts: str = "", *, calls: int = 1
) -> list[Turn]:
    """Return a turn with calls and the turns with their results, in these forms."""
    turn: Turn = {
        "role": "assistant",
        "content": content,
        "tool_calls": [
            {
                "id": _IDS[n],
                "type": "function",
                "function": {"name": _NAME, "arguments": {_KEY: f"{_VALUE}{n}"}},
            }
            for n in range(calls)
        ],
    }
    if thoughts:
        turn["reasoning_content"] = thoughts
    return forms.turns([turn, *(_result(n) for n in range(calls))])


def _between(text: str | None, first: str, second: str) -> str:
    """Return what stands between two texts; nothing if one of them is missing."""
    before, found, _ = (text or "").rpartition(second)
    return before.rpartition(first)[2] if found and first in before else ""


def _result(number: int) -> Turn:
    call_id = _IDS[number]
    return {"role": "tool", "content": _RESULT, "tool_call_id": call_id, "name": _NAME}


def _well_rendered(text: str, *, as_text: bool) -> bool:
    """Return True if arguments stand in a text once quoted, and not as Python writes an object."""
    if f"{_VALUE}0" not in text or _KEY not in text:
        return False
    return f'\\"{_KEY}' not in text if as_text else f"{{'{_KEY}'" not in text
