"""Finds out how a model writes its thoughts and tool calls, and makes the channels of its answers."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from ...output import harmony
from ...output.channels import Channels
from ...output.marked import CallForm, MarkedChannels, ThoughtMarks
from ...output.tool_calls.family import Family, Mark, Tools
from ...output.tool_calls.registry import find_family
from ..constraints.thought_tokens import ThoughtTokens
from ..text.thinking import find_marks, writes_channels
from ..text.tokenizer import Tokenizer
from .foreign_calls import foreign_family

_ANALYSIS = "<|channel|>analysis<|message|>"
_FINAL = "<|channel|>final<|message|>"
_END = "<|end|>"
_NEXT_MESSAGE = "<|start|>assistant"


class AnswerForm(NamedTuple):
    """The marks of a model's thoughts and the family of its tool calls; None for what it has not.

    ``harmony`` is True for gpt-oss's channels. ``tokens`` is None if the marks are no tokens of
    their own, so that a thought can't be seen in token ids. ``mark`` writes a mark in a grammar.
    """

    marks: ThoughtMarks | None
    tokens: ThoughtTokens | None
    harmony: bool
    family: Family | None
    mark: Mark

    @property
    def has_thoughts(self) -> bool:
        """Return True if thoughts can be told from the answer."""
        return self.harmony or self.marks is not None

    @property
    def can_call(self) -> bool:
        """Return True if tool calls can be told from the text."""
        return self.harmony or self.family is not None

    def capabilities(self, *, tools: bool) -> dict[str, bool]:
        """Return what `info` tells; ``tools`` is True if the template renders tools."""
        calls = tools and self.can_call
        required = calls and self.has_grammar
        strict = self.family is None or self.family.enforces_strict
        return {
            "thoughts": self.has_thoughts,
            "thinking_budget": self.tokens is not None,
            "tools": calls,
            "required_calls": required,
            "strict_tools": required and strict,
        }

    def opened_by(self, end: str) -> bool:
        """Return True if a prompt with this end has opened a thought."""
        return self.marks is not None and end.rstrip().endswith(self.marks.opening)

    def channels(
        self, tools: Tools | None, *, in_thought: bool, formed: bool
    ) -> Channels | None:
        """Make the channels of one answer; None if its whole text is the answer.

        ``formed`` is True if the answer has a form, in which marks are text.
        """
        if self.harmony:
            return harmony.Harmony(tools or Tools([]), formed=formed)
        calls = None
        if tools is not None and self.family is not None:
            calls = CallForm(self.family, tools)
        if self.marks is None and calls is None:
            return None
        return MarkedChannels(self.marks, calls, in_thought=in_thought, formed=formed)

    def ends_thought(self, text: str) -> bool:
        """Return True if a text within a thought has a mark that ends the thought."""
        channels: Channels = harmony.Harmony(Tools([]), opened=_ANALYSIS)
        if not self.harmony:
            channels = MarkedChannels(self.marks, None, in_thought=True)
        channels.add(text)
        return not channels.thinking

    @property
    def has_grammar(self) -> bool:
        """Return True if a grammar can hold an answer to a call."""
        return self.harmony or (self.family is not None and self.family.has_grammar)

    def calls_grammar(self, tools: Tools, *, parallel: bool) -> str:
        """Return the grammar of an answer that calls one of these tools.

        That of gpt-oss has the thought in it. Raises: Unenforceable.
        """
        if self.harmony:
            return harmony.grammar(tools, self.mark)
        assert self.family is not None
        return self.family.grammar(tools, self.mark, parallel=parallel)


def find_answer_form(
    template: str | None, for_tools: str | None, tokenizer: Tokenizer
) -> AnswerForm:
    """Return how the model with these templates and this vocabulary writes its answers.

    ``for_tools`` is the template of requests with tools, if that is another one.
    """
    vocabulary, mark = tokenizer.added_tokens, grammar_mark(tokenizer)
    if writes_channels(template or "", vocabulary):
        return AnswerForm(None, _tokens_of_channels(tokenizer), True, None, mark)
    marks = find_marks(template or "", vocabulary)
    tokens = None if marks is None else _tokens_of_marks(marks, tokenizer)
    asks = for_tools or template or ""
    family = find_family(asks, vocabulary) or foreign_family(asks, tokenizer)
    return AnswerForm(marks, tokens, False, family, mark)


def _tokens_of_marks(marks: ThoughtMarks, tokenizer: Tokenizer) -> ThoughtTokens | None:
    opening, closing = (_ids(mark, tokenizer) for mark in marks)
    if not opening or not closing:
        return None
    return ThoughtTokens(tokenizer, opening=opening, closing=marks.closing)


def _tokens_of_channels(tokenizer: Tokenizer) -> ThoughtTokens | None:
    analysis, final, end, following = (
        _ids(mark, tokenizer) for mark in (_ANALYSIS, _FINAL, _END, _NEXT_MESSAGE)
    )
    if not (analysis and final and end and following):
        return None
    return ThoughtTokens(
        tokenizer, opening=analysis, closing=_END, direct=final, heading=_NEXT_MESSAGE + _FINAL
    )


def _ids(mark: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the ids of a mark that begins with a token of its own; none for other marks.

    Only with such a token does the text before a mark not change the mark's tokens.
    """
    if not any(mark.startswith(token) for token in tokenizer.added_tokens if token):
        return ()
    return tuple(tokenizer.encode(mark, add_special_tokens=False))


def grammar_mark(tokenizer: Tokenizer) -> Mark:
    """Return a function that writes a mark as terms of llguidance's Lark: tokens and texts.

    All added tokens are written as tokens. llguidance takes one such as `<tool_call>` for special
    even if it is declared as plain: as a text it would be allowed by the mask, and then refused.
    """
    added = {token: number for token, number in tokenizer.added_ids.items() if token}
    pattern = re.compile(
        "|".join(map(re.escape, sorted(added, key=len, reverse=True))) or "(?!)"
    )

    def mark(text: str) -> str:
        terms, taken = [], 0
        for found in pattern.finditer(text):
            if before := text[taken : found.start()]:
                terms.append(json.dumps(before, ensure_ascii=False))
            terms.append(f"<[{added[found[0]]}]>")
            taken = found.end()
        if rest := text[taken:]:
            terms.append(json.dumps(rest, ensure_ascii=False))
        return " ".join(terms)

    return mark
