"""Parses calls that are written as Python: `name(key="value", other=[1, True, None])`."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Generator

from ...pieces import CallArguments, CallBegan, CallEnded
from ..family import Tools
from ..source import CutOff, NotACall, OnlyText, Parsing, Source
from .json_text import written

_JSON_WORDS = {"true": True, "false": False, "null": None}
_METHOD = ".call"


def parse_call(source: Source, tools: Tools, *, certain: bool = True) -> Parsing:
    """Parse one call, whose arguments all have names. Raises: NotACall, CutOff.

    Unless the text is ``certain`` to be a call, it is `OnlyText` if no name and bracket come.
    """
    name = yield from source.take_word()
    follows = yield from source.peek(1)
    if not (name and follows == "("):
        problem = CutOff if not follows else NotACall
        raise (problem if certain else OnlyText)(
            f"`{name}{follows}` stands where a function's name and `(` must"
        )
    if name.endswith(_METHOD) and name not in tools:
        name = name.removesuffix(_METHOD)  # Llama 3 calls its built-in tools so
    try:
        tools.named(name)
    except NotACall:
        yield from _bracketed(source)
        raise
    yield CallBegan(name)
    yield CallArguments(_as_json((yield from _bracketed(source))))
    source.complete_call()
    yield CallEnded()


def parse_calls(source: Source, tools: Tools, *, certain: bool = True) -> Parsing:
    """Parse a list of calls in square brackets. Raises: NotACall, CutOff."""
    yield from source.expect("[")
    yield from source.skip_space()
    while True:
        yield from parse_call(source, tools, certain=certain)
        certain = True
        yield from source.skip_space()
        if (yield from source.expect(",", "]")) == "]":
            source.complete_call()
            return
        yield from source.skip_space()


def _bracketed(source: Source) -> Generator[None, None, str]:
    """Take the text from `(` to the `)` that belongs to it, and return what is between."""
    taken: list[str] = []
    quote, depth = "", 0
    while True:
        char = yield from source.take(1)
        taken.append(char)
        if quote:
            if char == "\\":
                taken.append((yield from source.take(1)))
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return "".join(taken)[1:-1]


def _as_json(arguments: str) -> str:
    """Return the keyword arguments of a Python call as a JSON object. Raises: NotACall."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unknown escapes, which models write
            call = ast.parse(f"f({arguments}\n)", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args:
            raise NotACall("an argument of the call has no name")
        values = {
            keyword.arg: ast.literal_eval(_without_json_words(keyword.value))
            for keyword in call.keywords
        }
        if None in values:
            raise NotACall("an argument of the call has no name")
        return written(values)
    except (SyntaxError, ValueError, TypeError, AssertionError, MemoryError, RecursionError):
        raise NotACall("the call's arguments are no Python values") from None


def _without_json_words(value: ast.expr) -> ast.expr:
    """Return the expression with JSON's `true`, `false` and `null` as Python's words."""
    return _JsonWords().visit(value)  # type: ignore[no-any-return]


class _JsonWords(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in _JSON_WORDS:
            return ast.copy_location(ast.Constant(_JSON_WORDS[node.id]), node)
        return node
