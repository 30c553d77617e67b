"""Finds out at load what a model's chat template and vocabulary know of thoughts.

Templates name their switch for thinking differently, and some mention one that changes nothing. So
the switch is found by rendering conversations with it on and off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mlxwire_protocol import WireError

from ...output.marked import ThoughtMarks

Render = Callable[..., str]
"""Maps a template's source, its variables and the mark in its messages to the rendered text."""


class ThinkingSwitch(NamedTuple):
    """The variables of a chat template that turn thinking on and off."""

    on: dict[str, Any]
    off: dict[str, Any]

    def variables(self, thinking: bool) -> dict[str, Any]:
        """Return the variables that set the switch."""
        return self.on if thinking else self.off


def _flags(*names: str, inverted: bool = False) -> ThinkingSwitch:
    return ThinkingSwitch(dict.fromkeys(names, not inverted), dict.fromkeys(names, inverted))


def _words(name: str, on: str, off: str) -> ThinkingSwitch:
    return ThinkingSwitch({name: on}, {name: off})


SWITCHES = (
    # Qwen 3 and most others have the first name, DeepSeek V3.1 and Granite the second.
    _flags("enable_thinking", "thinking"),
    _flags("reasoning"),
    _flags("enable_reasoning"),
    _flags("enable_think"),
    _flags("think"),
    _flags("disable_thinking", inverted=True),
    _flags("skip_thinking", inverted=True),
    _words("thinking_mode", "enabled", "disabled"),
    _words("thinking_mode", "thinking", "chat"),
    _words("thinking_mode", "on", "off"),
    _words("thinking_option", "on", "off"),
    _words("reasoning_effort", "high", "none"),
    _words("reasoning_effort", "high", "no_think"),
    _words("reasoning_effort", "high", "minimal"),
    ThinkingSwitch({"thinking_budget": -1}, {"thinking_budget": 0}),
)
"""Switches of known templates. A template that only asks for more or less effort has none."""

_USER = {"role": "user", "content": "What is 2 and 3?"}
_CONVERSATIONS: tuple[list[dict[str, str]], ...] = (
    [_USER],
    [{"role": "system", "content": "Be brief."}, _USER],
    [_USER, {"role": "assistant", "content": "5"}, _USER],
)
_THOUGHT = re.compile(
    r"[<\[{][^<>\[\]{}\s]*?(?:think|thought|reason|inner_prefix|inner_suffix|channel)[^<>\[\]{}\s]*[>\]}]",
    re.IGNORECASE,
)
_CODE = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_TEXT = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_PARTNERS = (
    (r"[<\[{|]/", ""),
    (r"end", "start"),
    (r"END", "START"),
    (r"end", "begin"),
    (r"inner_suffix", "inner_prefix"),
)


def find_switch(
    template: str, variables: dict[str, Any], render: Render
) -> ThinkingSwitch | None:
    """Return the switch that changes the prompt of a short conversation; None without one.

    ``variables`` are the other variables of the template. A conversation that it refuses is left
    out. Raises: WireError ``unavailable``.
    """
    for switch in SWITCHES:
        if not _mentions(template, switch):
            continue
        for messages in _CONVERSATIONS:
            given = {**variables, "messages": messages}
            if _differ(template, given, switch, render):
                return switch
    return None


def mentions_switch(template: str) -> bool:
    """Return True if a template's code has the variable of a switch, which may change nothing."""
    code = " ".join(_TEXT.sub(" ", part) for part in _CODE.findall(template))
    return any(
        _mentions(template, switch)
        and any(re.search(rf"\b{name}\b", code) for name in switch.on)
        for switch in SWITCHES
    )


def writes_channels(template: str, vocabulary: list[str]) -> bool:
    """Return True if the model writes gpt-oss's channels, which its template names."""
    return "<|channel|>" in {*_marks(template), *vocabulary} and "analysis" in template


def find_marks(template: str, vocabulary: list[str]) -> ThoughtMarks | None:
    """Return the marks that a model writes around its thoughts; None if it knows none.

    ``vocabulary`` has the added tokens of the tokenizer. Marks of the template come first, and
    among those the ones that are tokens.
    """
    in_template = _marks(template)
    in_vocabulary = [token for token in vocabulary if _THOUGHT.fullmatch(token)]
    known = {*in_template, *in_vocabulary}
    if {"<|channel>", "<channel|>"} <= known:
        return ThoughtMarks("<|channel>thought", "<channel|>")  # Gemma 4
    if {"<|open|>", "<|close|>", "<|sep|>"} <= set(vocabulary):
        # Kimi K3 writes the tag's name between these tokens.
        return ThoughtMarks("<|open|>think<|sep|>", "<|close|>think<|sep|>")
    pairs = [
        ThoughtMarks(opening, mark)
        for mark in (*in_template, *in_vocabulary)
        if "channel" not in mark
        for opening in _openings(mark)
        if opening in known
    ]
    return min(pairs, key=lambda pair: not set(pair) <= set(in_vocabulary), default=None)


def _marks(template: str) -> list[str]:
    return list(dict.fromkeys(_THOUGHT.findall(template)))


def _openings(closing: str) -> Iterator[str]:
    for pattern, start in _PARTNERS:
        if start:
            opening = closing.replace(pattern, start)
        else:
            opening = re.sub(pattern, lambda found: found[0][:-1], closing, count=1)
        if opening != closing:
            yield opening


def _mentions(template: str, switch: ThinkingSwitch) -> bool:
    """Return True if a template has a variable of the switch, and the word that turns it off."""
    named = any(re.search(rf"\b{name}\b", template) for name in switch.on)
    return named and all(
        re.search(rf"""["']{word}["']""", template)
        for word in switch.off.values()
        if isinstance(word, str)
    )


def _differ(
    template: str, variables: dict[str, Any], switch: ThinkingSwitch, render: Render
) -> bool:
    try:
        return render(template, {**variables, **switch.on}) != render(
            template, {**variables, **switch.off}
        )
    except WireError as error:
        if error.code != "invalid_params":
            raise
        return False
