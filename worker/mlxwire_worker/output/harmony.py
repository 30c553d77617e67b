"""Channels of gpt-oss, whose harmony format writes thoughts, text and calls as messages.

Theory of operation. The prompt ends with `<|start|>assistant`, so the answer begins within the header
of a message: channel, recipient and type, up to `<|message|>`. The body lasts up to an end mark, the
next header, or the end of the text, because tokens that end the text are no part of it. A generator
reads header and body in turn, and yields None when it needs more text.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator

from .channels import Channels
from .pieces import (
    CallArguments,
    CallBegan,
    CallEnded,
    CallFailed,
    Piece,
    Text,
    Thought,
)
from .tool_calls.family import Mark, Tool, Tools
from .tool_calls.source import SPACE, CutOff, NotACall, Parsing, Source
from .tool_calls.syntax import grammars
from .tool_calls.syntax.json_calls import parse_arguments
from .tool_calls.syntax.json_text import Fragments

_START = "<|start|>"
_CHANNEL = "<|channel|>"
_CONSTRAIN = "<|constrain|>"
_MESSAGE = "<|message|>"
_ENDS = ("<|end|>", "<|return|>", "<|call|>")
_HEADS = (_START, _CHANNEL, _MESSAGE)
_FIRST_HEADS = (*_HEADS, "to=", " to=")
"""A header at the beginning of the answer goes on where the prompt ended."""
_LONGEST_HEADER = 512

_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_CHANNEL_NAME = re.compile(r"<\|channel\|>\s*([A-Za-z]+)")
_NO_TOOLS = ("all", "user")
"""Recipients that stand for the reader of the answer, and are no tools."""
_PREFIX = "functions."

Wrap = Callable[[str], Piece]


class Harmony(Channels):
    """Splits one answer. ``opened`` is the part of the first header that the prompt has written.

    ``formed`` is True if the answer has a form: then a mark in its text is part of it.
    """

    def __init__(self, tools: Tools, *, opened: str = "", formed: bool = False) -> None:
        self._tools = tools
        self._formed = formed
        self._source = Source()
        self._thinking = False
        self._pieces = self._answer()
        if opened:
            self.add(opened)

    @property
    def thinking(self) -> bool:
        """Return True if text that is added now belongs to a thought."""
        return self._thinking

    @property
    def unread(self) -> str:
        """Return the end of the text that may begin a mark, or belongs to a header."""
        return self._source.rest

    def add(self, text: str) -> list[Piece]:
        """Take the next text of the answer; return the pieces that are certain now."""
        self._source.add(text)
        return self._read()

    def finish(self) -> list[Piece]:
        """Take the end of the answer; return the pieces that were held back."""
        self._source.ended = True
        return self._read()

    def _read(self) -> list[Piece]:
        pieces: list[Piece] = []
        while (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
        return pieces

    def _answer(self) -> Iterator[Piece | None]:
        source = self._source
        heads: tuple[str, ...] = _FIRST_HEADS
        while (yield from source.peek(1)):
            if (yield from source.follows(*heads)) is None:
                yield from self._text()
            else:
                yield from self._message()
            heads = _HEADS

    def _message(self) -> Iterator[Piece | None]:
        source = self._source
        try:
            header = yield from source.until(_MESSAGE, *_ENDS, most=_LONGEST_HEADER)
        except CutOff as problem:
            if _RECIPIENT.search(source.call_text):
                yield CallFailed(str(problem), source.call_text, cut_off=True)
            source.complete_call()
            return
        except NotACall:
            yield Text(source.call_text)
            source.complete_call()
            return
        if (yield from source.try_take(_MESSAGE)) is None:  # a message without a body
            yield from self._end_of_body()
            return
        recipient = _RECIPIENT.search(header)
        if recipient is not None and recipient[1] not in _NO_TOOLS:
            yield from self._call(recipient[1].removeprefix(_PREFIX))
            return
        channel = _CHANNEL_NAME.search(header)
        if channel is not None and channel[1] == "analysis":
            self._thinking = True
            yield from self._body(Thought)
        else:
            yield from self._text()

    def _text(self) -> Iterator[Piece | None]:
        """Yield a body of the answer: up to the next mark, or to the end if it has a form."""
        if not self._formed:
            yield from self._body(Text)
            return
        self._source.complete_call()
        yield from self._source.skip_space()
        for fragment in self._fragments():
            yield None if fragment is None else Text(fragment)

    def _body(self, wrap: Wrap) -> Iterator[Piece | None]:
        """Yield the text up to the next mark, without the white space around it."""
        self._source.complete_call()
        begun, held = False, [""]
        for fragment in self._fragments(*_ENDS, *_HEADS):
            if fragment is None:
                yield None
                continue
            if not fragment.strip(SPACE):
                held.append(fragment)  # one by one, since a run of white space may be long
                continue
            text = "".join(held) + fragment if begun else fragment.lstrip(SPACE)
            kept = text.rstrip(SPACE)
            held = [text[len(kept) :]]
            begun = True
            yield wrap(kept)
        rest = "".join(held)
        if begun and rest and wrap is Text and not self._source.rest:
            yield Text(rest)  # no mark follows
        self._thinking = False
        yield from self._end_of_body()

    def _fragments(self, *marks: str) -> Fragments:
        source = self._source
        try:
            for fragment in source.pieces_until(*marks):
                source.complete_call()
                yield fragment
        except CutOff:
            return

    def _end_of_body(self) -> Iterator[None]:
        source = self._source
        yield from source.try_take(*_ENDS)
        yield from source.skip_space()
        source.complete_call()

    def _call(self, name: str) -> Iterator[Piece | None]:
        source = self._source
        try:
            yield from self._arguments(name)
        except NotACall as problem:
            cut_off = isinstance(problem, CutOff)
            with contextlib.suppress(CutOff):
                yield from source.until(*_ENDS, _START)
            yield from source.try_take(*_ENDS)
            yield CallFailed(str(problem), source.call_text, cut_off)
            source.complete_call()
            return
        yield CallEnded()
        yield from self._body(Text)

    def _arguments(self, name: str) -> Parsing:
        source = self._source
        yield from source.skip_space()
        if (yield from source.follows(*_ENDS)) is None:
            yield from parse_arguments(source, name, self._tools, None)
        else:
            yield CallBegan(self._tools.named(name).name)
            yield CallArguments("{}")


def grammar(tools: Tools, mark: Mark) -> str:
    """Return a Lark grammar of answers with one call, with or without a thought before it.

    The grammar allows one call, because the model ends its answer behind each call.
    """

    def call(tool: Tool, arguments: str) -> str:
        head = grammars.quoted(f"commentary to={_PREFIX}{tool.name} ")
        kind = f'{mark(_CONSTRAIN)} "json"'
        return f"{mark(_CHANNEL)} {head} {kind} {mark(_MESSAGE)} {arguments}"

    end = mark(_ENDS[0])
    thought = f'{mark(_CHANNEL)} "analysis" {mark(_MESSAGE)} thought {mark(_START)} "assistant"'
    if end.startswith("<"):
        rules = f"thinking: {thought}\nthought: /(?s:.*)/ {end}\n"
    else:
        rules = f"thinking: {thought}\nthought[lazy]: /(?s:.*)<\\|end\\|>/\n"
    return grammars.calls(tools, call, parallel=False, begin="thinking?") + rules
