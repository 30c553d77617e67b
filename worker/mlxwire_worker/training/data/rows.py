"""Turns one row of a data file into the token ids to learn.

A row has `messages`, or `prompt` and `completion`, or `text`; the first two may have `tools`. The
model's own chat template renders conversations, and text in them never becomes a control token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from mlxwire_protocol import WireError
from mlxwire_protocol.chat.tools import ToolList
from mlxwire_protocol.chat.turns import Conversation

from ...mlx_engine.conversation.encoding import encode_chat, template_variables
from ...mlx_engine.conversation.probing import Renders, probe
from ...mlx_engine.text.chat_template import Templates
from ...mlx_engine.text.template_process import RenderTime, TemplateProcess
from ...mlx_engine.text.thinking import ThinkingSwitch, find_switch
from ...mlx_engine.text.tokenizer import Tokenizer
from ...prompts import ChatInput
from ...requests.tool_options import tool_options
from ...requests.turns import plain_turns

_KINDS = (
    frozenset({"messages", "tools"}),
    frozenset({"prompt", "completion", "tools"}),
    frozenset({"text"}),
)
_ACCEPTED = "`messages` (with `tools`), `prompt` and `completion` (with `tools`), or `text`"
_PROBE_SECONDS = 20.0
_KIND_OF = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
}
"""Values of JSON that are no text, in words."""
_T = TypeVar("_T")


class BadRow(Exception):
    """Raised for a row that can't be learned; its text is the reason, with the remedy."""


class Row(NamedTuple):
    """A row to learn: its token ids [length], cut to the longest accepted length.

    The first ``masked`` of them are not learned, only read.
    """

    ids: NDArray[np.int32]
    masked: int
    truncated: bool


class RowEncoder:
    """Encodes rows with one model's tokenizer and chat template.

    ``longest`` is in tokens. With ``mask_prompt`` the last answer alone is learned.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        templates: Templates | None,
        process: TemplateProcess,
        *,
        longest: int,
        mask_prompt: bool,
    ) -> None:
        self._tokenizer = tokenizer
        self._templates = templates
        self._process = process
        self._longest = longest
        self._mask_prompt = mask_prompt
        self._renders: Renders | None = None
        self._switch: ThinkingSwitch | None = None
        ends = tokenizer.special_tokens.get("eos_token")
        self._end = None if ends is None else tokenizer.token_id(ends)

    def encode(self, fields: dict[str, Any]) -> Row:
        """Return the tokens of a row.

        Raises: BadRow; WireError if no row can be rendered, whatever it has.
        """
        given = set(fields)
        kind = next(
            (kind for kind in _KINDS if given <= kind and kind - {"tools"} <= given), None
        )
        if kind is None:
            raise BadRow(_unknown_keys(given))
        if "text" in kind:
            ids, masked = self._text(_string(fields, "text")), 0
        elif "prompt" in kind:
            ids, masked = self._completion(fields)
        else:
            ids, masked = self._conversation(fields["messages"], fields.get("tools"))
        return self._row(ids, masked)

    def _row(self, ids: list[int], masked: int) -> Row:
        kept = ids[: self._longest]
        if len(kept) - max(1, masked) < 1:
            if len(kept) < len(ids):
                raise BadRow(
                    f"its prompt alone has {masked} tokens, so `max_sequence` {self._longest} leaves "
                    "no token to learn; raise `max_sequence`, or shorten the prompt"
                )
            raise BadRow("it has no token to learn; give a longer text or answer")
        return Row(np.array(kept, np.int32), masked, len(kept) < len(ids))

    def _text(self, text: str) -> list[int]:
        if self._mask_prompt:
            raise BadRow(
                "it is `text`, in which `mask_prompt` finds no prompt; give `prompt` and "
                "`completion`, or leave `mask_prompt` out"
            )
        if not text.strip():
            raise BadRow("its `text` is empty; give a text, or remove the line")
        return self._ended(self._tokenizer.encode_prompt(text))

    def _completion(self, fields: dict[str, Any]) -> tuple[list[int], int]:
        prompt, completion = _string(fields, "prompt"), _string(fields, "completion")
        if not completion.strip():
            raise BadRow("its `completion` is empty; give an answer, or remove the line")
        if self._templates is not None:
            turns = [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": completion},
            ]
            return self._conversation(turns, fields.get("tools"))
        if fields.get("tools"):
            raise BadRow("it has `tools`, but the model has no chat template; leave them out")
        start = self._tokenizer.encode_prompt(prompt)
        rest = self._tokenizer.encode(completion, add_special_tokens=False)
        return self._ended([*start, *rest]), len(start) if self._mask_prompt else 0

    def _ended(self, ids: list[int]) -> list[int]:
        """Add the token that ends a text, unless it is there."""
        if self._end is None or (ids and ids[-1] == self._end):
            return ids
        return [*ids, self._end]

    def _conversation(self, messages: Any, tools: Any) -> tuple[list[int], int]:
        if self._templates is None:
            raise BadRow(
                "it has `messages`, but the model has no chat template; give `text`, or add a "
                "chat_template.jinja to the model's folder"
            )
        chat = self._chat(messages, tools)
        ids = self._render(chat)
        if not self._mask_prompt:
            return ids, 0
        before = structs.replace(chat, messages=chat.messages[:-1], asks=True)
        return ids, _shared(self._render(before), ids)

    def _chat(self, messages: Any, tools: Any) -> ChatInput:
        turns = _refusing(lambda: plain_turns(_converted(messages, Conversation, "messages")))
        defined = _refusing(lambda: tool_options(_converted(tools or [], ToolList, "tools")))
        answers = [turn for turn in turns if turn["role"] == "assistant"]
        if not answers:
            raise BadRow("it has no turn of the role `assistant` to learn; add the answer")
        if not any(turn["content"] or turn.get("tool_calls") for turn in answers):
            raise BadRow("its turns of the role `assistant` are empty; give an answer")
        if self._mask_prompt and (turns[-1]["role"] != "assistant" or len(turns) < 2):
            raise BadRow(
                "its last turn is no answer to another turn, so `mask_prompt` leaves nothing to "
                "learn; end it with a turn of the role `assistant`, or leave `mask_prompt` out"
            )
        self._settle()
        thinks = any("reasoning_content" in turn for turn in answers)
        return ChatInput(
            messages=turns,
            tools=defined.tools,
            asks=False,
            thinking=True if thinks and self._switch is not None else None,
        )

    def _settle(self) -> None:
        """Find out, at the first conversation, what the chat templates render."""
        if self._renders is not None or self._templates is None:
            return
        for template in dict.fromkeys(self._templates):
            self._process.check(template)
        variables = template_variables(ChatInput(messages=[]), self._tokenizer.special_tokens)
        render = partial(self._process.render, time=RenderTime(_PROBE_SECONDS))
        self._switch = find_switch(self._templates.default, variables, render)
        self._renders = probe(self._templates, variables, render)

    def _render(self, chat: ChatInput) -> list[int]:
        assert self._templates is not None
        assert self._renders is not None
        template, forms, needs_system = self._templates.default, self._renders.plain, False
        if chat.tools:
            if self._renders.tools is None:
                raise BadRow("it has `tools`, which the model's chat template does not render")
            template, forms, needs_system = self._renders.tools
        return _refusing(
            lambda: encode_chat(
                chat,
                template,
                self._tokenizer,
                self._process.render,
                switch=self._switch,
                forms=forms,
                needs_system=needs_system,
            )
        )


def _converted(value: Any, wanted: Any, name: str) -> Any:
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        raise BadRow(f"its `{name}` are wrong: {error}".replace("$", name)) from None


def _refusing(make: Callable[[], _T]) -> _T:
    """Call ``make``, and turn its refusal of a row into `BadRow`."""
    try:
        return make()
    except WireError as error:
        if error.code == "unavailable":
            raise
        raise BadRow(error.message) from None


def _string(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise BadRow(f"its `{name}` is {_KIND_OF[type(value)]}, no text; give a text")
    return value


def _unknown_keys(given: set[str]) -> str:
    known = frozenset().union(*_KINDS)
    unknown = sorted(given - known)
    if unknown:
        return f"it has the unknown key {unknown[0][:80]!r}; a row has {_ACCEPTED}"
    told = ", ".join(f"`{name}`" for name in sorted(given)) or "no key"
    return f"it has {told}; a row has {_ACCEPTED}"


def _shared(one: list[int], other: list[int]) -> int:
    """Return how many ids two sequences begin with alike."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
