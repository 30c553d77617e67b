"""Tells by the texts of added tokens which of them control a model, and what they are for."""

from __future__ import annotations

import re

from tokenizers import AddedToken

_MARKUP = re.compile(r"<.+>|\[.+\]|\{.+\}", re.DOTALL)
_HTML = re.compile(
    r"</?(?:table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|s|sub|sup"
    r"|code|pre|p|br|a|ul|ol|li|div|span|img|hr)>"
)
_OF_ANSWERS = re.compile(
    r"think|thought|reason|channel|inner_|call|function|invoke|param|args?\b|arg_|python_tag",
    re.I,
)
_OF_TURNS = re.compile(
    r"response|result|output|declar|list|system|user|start_of_turn|end_of_turn|^<\|call\|>$",
    re.I,
)
"""Control tokens that a model writes into its answers, and a host sends back in the assistant's
turns, by their names. No token that opens or ends a turn, or brings a tool's result, is among them."""


def is_control(token: AddedToken) -> bool:
    """Return True for an added token that no message may write: special ones and their like.

    Plain words, runs of white space and HTML tags are added tokens of some models (Gemma) and
    ordinary text. DeepSeek's turn marks and Qwen's tool marks are not declared as special, but they
    control the model, so any token in angle, square or curly brackets counts.
    """
    text = token.content
    if not text.replace("▁", " ").strip():
        return False
    if token.special:
        return True
    return bool(_MARKUP.fullmatch(text)) and not _HTML.fullmatch(text)


def in_answers(token: str) -> bool:
    """Return True for a control token that a model writes within its answer, by the token's text."""
    return _OF_ANSWERS.search(token) is not None and _OF_TURNS.search(token) is None
