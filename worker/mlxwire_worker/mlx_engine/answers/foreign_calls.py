"""Parses tool calls with mlx-lm's own parsers, for models whose form the worker has no parser for."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any, ClassVar

from ...output.pieces import CallArguments, CallBegan, CallEnded
from ...output.tool_calls.family import Family, Tools
from ...output.tool_calls.source import NotACall, Parsing, Source
from ...output.tool_calls.syntax.json_text import written
from ..text.tokenizer import Tokenizer

_PACKAGE = "mlx_lm.tool_parsers"
Parse = Callable[[str, list[dict[str, Any]]], Any]


class ForeignCalls(Family):
    """A section between a parser's marks, which is read whole. It has no grammar."""

    name: ClassVar[str] = "mlx-lm"
    has_grammar: ClassVar[bool] = False
    marks_known: ClassVar[bool] = False
    openings: tuple[str, ...] = ()

    def __init__(self, begin: str, end: str, parse: Parse) -> None:
        self.openings = (begin,)
        self._end = end
        self._parse = parse

    @classmethod
    def named(cls, parser: str) -> ForeignCalls:
        """Return the family around one of mlx-lm's parsers. Raises: ImportError."""
        module = importlib.import_module(f"{_PACKAGE}.{parser}")
        return cls(module.tool_call_start, module.tool_call_end, module.parse_tool_call)

    def parse(self, source: Source, tools: Tools) -> Parsing:
        """Parse one section. Raises: NotACall, CutOff."""
        yield from source.expect(*self.openings)
        text = yield from source.until(self._end)
        yield from source.expect(self._end)
        for name, arguments in self._calls(text, tools):
            yield CallBegan(name)
            yield CallArguments(arguments)
            yield CallEnded()
        source.complete_call()

    def _calls(self, text: str, tools: Tools) -> list[tuple[str, str]]:
        shown = [
            {"type": "function", "function": {"name": t.name, "parameters": t.parameters}}
            for t in tools
        ]
        try:
            found = self._parse(text, shown)
        except Exception as problem:  # the parsers raise whatever their code happens to raise
            raise NotACall(f"the call can't be parsed: {type(problem).__name__}") from None
        calls = [_call(call) for call in (found if isinstance(found, list) else [found])]
        if not calls:
            raise NotACall("the section has no call")
        for name, _ in calls:
            tools.named(name)
        return calls


def _call(found: Any) -> tuple[str, str]:
    """Return the name and the arguments, as JSON, of what a parser returned. Raises: NotACall."""
    if not isinstance(found, dict) or not isinstance(name := found.get("name"), str):
        raise NotACall("the call has no name")
    arguments = found.get("arguments", {})
    try:
        if isinstance(arguments, str):
            arguments = json.loads(arguments or "{}")
        if not isinstance(arguments, dict):
            raise NotACall("the call's arguments are no JSON object")
        return name, written(arguments)
    except (ValueError, TypeError, RecursionError):
        raise NotACall("the call's arguments are no JSON object") from None


class _Seen:
    """The part of a tokenizer that mlx-lm looks at when it chooses a parser."""

    def __init__(self, template: str, tokenizer: Tokenizer) -> None:
        self.chat_template = template
        self._tokenizer = tokenizer

    def get_vocab(self) -> dict[str, int]:
        return self._tokenizer.added_ids


def foreign_family(template: str, tokenizer: Tokenizer) -> ForeignCalls | None:
    """Return the family around the parser that mlx-lm would choose; None if it has none."""
    from mlx_lm import tokenizer_utils

    try:
        parser = tokenizer_utils._infer_tool_parser(_Seen(template, tokenizer))
        return None if parser is None else ForeignCalls.named(parser)
    except Exception:  # another version of mlx-lm may choose in another way, or have no parsers
        return None
