"""Finds the text of a conversation up to the assistant's answer, and its token ids.

A template may write more before an answer than it writes to ask for one: an empty thought, or the
channel `final` of gpt-oss. So the conversation is also rendered with an answer, and cut before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from msgspec import structs

from mlxwire_protocol import WireError

from ...prompts import ChatInput

_ANSWER = "The answer stands here 0d7c2f51"


class Encode(Protocol):
    """Renders a conversation and returns its token ids, as `encode_conversation` with one model."""

    def __call__(
        self, chat: ChatInput, check: Callable[[str], None], cut: Callable[[str], str]
    ) -> list[int]:
        """Return the token ids of what ``cut`` leaves of the rendered text, which ``check`` sees."""
        ...


class BeforeAnswer(NamedTuple):
    """A conversation's text up to the answer, and its token ids."""

    text: str
    ids: list[int]


class _NoPlace(Exception):
    """Raised where the rendered text does not hold the answer once."""


def before_answer(
    chat: ChatInput,
    encode: Encode,
    check: Callable[[str], None],
    *,
    separator: str = "",
    closes_thought: bool,
) -> BeforeAnswer:
    """Return the text before the answer to a conversation, with what the template always writes there.

    ``separator`` stands at its end. ``check`` sees a text before it is tokenized. With
    ``closes_thought`` the template closes the thought by itself where it asks for an answer, so a text
    without this is not taken. Raises: WireError where the template refuses the conversation.
    """

    def encoded(chat: ChatInput, cut: Callable[[str], str]) -> BeforeAnswer:
        texts: list[str] = []

        def note(text: str) -> None:
            texts.append(text)
            check(text)

        ids = encode(chat, note, lambda rendered: cut(rendered) + separator)
        return BeforeAnswer(texts[-1], ids)

    asking = encoded(chat, lambda rendered: rendered)
    answer = {"role": "assistant", "content": _ANSWER}
    answered = structs.replace(chat, messages=[*chat.messages, answer], asks=False)
    try:
        before = encoded(answered, _before)
    except (_NoPlace, WireError):
        return asking
    shorter, longer = asking.text.removesuffix(separator), before.text.removesuffix(separator)
    if longer.startswith(shorter):
        return before
    return before if shorter.startswith(longer) and not closes_thought else asking


def _before(rendered: str) -> str:
    if rendered.count(_ANSWER) != 1:
        raise _NoPlace
    return rendered[: rendered.index(_ANSWER)]
