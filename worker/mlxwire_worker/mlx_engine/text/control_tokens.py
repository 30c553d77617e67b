"""Keeps the text of chat messages from becoming control tokens (SPEC §4.4).

Which characters of a rendered conversation come from a message is known to nobody, since a
template may trim, split and quote. So every place in a message where a control token could
begin is marked before the render; what is unmarked after it is the template's own.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from tokenizers import AddedToken, models
from tokenizers import Tokenizer as FastTokenizer

from mlxwire_protocol import invalid_params
from mlxwire_protocol.messages import Message

from .fast_tokenizer import encode_ids, encode_with_offsets

_MARKUP = re.compile(r"<.+>|\[.+\]|\{.+\}", re.DOTALL)
_HTML = re.compile(
    r"</?(?:table|caption|thead|tbody|tfoot|tr|th|td|h[1-6]|blockquote|strong|em|b|i|u|s|sub|sup"
    r"|code|pre|p|br|a|ul|ol|li|div|span|img|hr)>"
)
_ANSWER_MARKS = r"(</?(?:think|tool_call)>)"
"""What a model writes into its own answers, and a host sends back in the assistant's turns."""
_PRIVATE_USE = re.compile("[\ue000-\uf8ff]")


def is_control(token: AddedToken) -> bool:
    """Whether a message must not write it: every special token, and what looks like one.

    Plain words, runs of white space and HTML (Gemma has both) are text that happens to be one
    token; DeepSeek's turns and Qwen's tool marks are not special, and control all the same.
    """
    text = token.content
    if not text.replace("▁", " ").strip():
        return False
    if token.special:
        return True
    return bool(_MARKUP.fullmatch(text)) and not _HTML.fullmatch(text)


class ControlTokens:
    """The control tokens of one tokenizer, and how to encode around them."""

    def __init__(self, fast: FastTokenizer) -> None:
        self._fast = fast
        self._contents = {
            token_id: token.content
            for token_id, token in fast.get_added_tokens_decoder().items()
            if is_control(token)
        }
        self._ids = list(self._contents)
        openings = "|".join(sorted({_opening(text) for text in self._contents.values()}))
        self._openings = re.compile(openings or "(?!)")
        self._openings_of_answers = re.compile(f"{_ANSWER_MARKS}|{openings or '(?!)'}")

    def mark(self, messages: Iterable[Message]) -> tuple[str, list[dict[str, str]]]:
        """A character that is in no message, and the messages as the template shall see them.

        Raises: WireError ``invalid_params`` for a role that holds a control token.
        """
        messages = list(messages)
        used: set[str] = set()
        for index, message in enumerate(messages):
            self._check_role(message.role, f"messages[{index}].role")
            used.update(_PRIVATE_USE.findall(message.content + message.role))
        mark = next((c for c in map(chr, range(0xE000, 0xF900)) if c not in used), None)
        if mark is None:
            raise invalid_params(
                "messages", "the messages use every private-use character; leave some out"
            )
        return mark, [
            {"role": message.role, "content": self._marked(message, mark)}
            for message in messages
        ]

    def encode(
        self, rendered: str, mark: str, check: Callable[[str], None] = lambda _: None
    ) -> list[int]:
        """Token ids of a rendered conversation, in which the template alone wrote control tokens.

        ``check`` sees the plain text first, and may raise. Without such text in the messages these are the ids that the plain text has.
        """
        # A template that asks for ASCII's JSON has written the mark as an escape.
        rendered = rendered.replace(json.dumps(mark)[1:-1], mark)
        plain = rendered.replace(mark, "")
        check(plain)
        ids = encode_ids(self._fast, plain, add_special_tokens=False)
        if not self._ids:
            return ids
        own = encode_with_offsets(self._finder, rendered)
        places = [
            (self._ids[found - 1], start, end)
            for found, (start, end) in zip(own.ids, own.offsets, strict=True)
            if found
        ]
        if [token for token in ids if token in self._contents] == [own[0] for own in places]:
            return ids
        return self._encode_apart(rendered, mark, places)

    def _encode_apart(
        self, rendered: str, mark: str, places: list[tuple[int, int, int]]
    ) -> list[int]:
        tokenizer, stand_ins = self._blind
        pieces, taken = [], 0
        for token, start, end in places:
            pieces += [rendered[taken:start], stand_ins[token]]
            taken = end
        text = "".join([*pieces, rendered[taken:]]).replace(mark, "")
        return encode_ids(tokenizer, text, add_special_tokens=False)

    def _check_role(self, role: str, field: str) -> None:
        if any(encode_ids(self._finder, role, add_special_tokens=False)):
            raise invalid_params(
                field, "the role holds the text of a control token; give a plain name"
            )

    def _marked(self, message: Message, mark: str) -> str:
        if message.role == "assistant":
            return self._openings_of_answers.sub(
                lambda found: found[1] or found[0] + mark,
                message.content,
            )
        return self._openings.sub(lambda found: found[0] + mark, message.content)

    @cached_property
    def _finder(self) -> FastTokenizer:
        """Finds control tokens as the tokenizer itself does: the leftmost, then the longest.

        Id 0 is all else; id n is the n-th control token.
        """
        finder = FastTokenizer(models.WordLevel({"": 0}, unk_token=""))
        known = self._fast.get_added_tokens_decoder()
        finder.add_tokens([_exact(known[token_id]) for token_id in self._ids])
        return finder

    @cached_property
    def _blind(self) -> tuple[FastTokenizer, Mapping[int, str]]:
        """The tokenizer with names for its control tokens that nobody can guess, and the names.

        Made when a message first holds such text: for a large vocabulary it takes a second.
        """
        nonce = secrets.token_hex(16)
        stand_ins = {token_id: f"<{nonce}:{token_id}>" for token_id in self._ids}
        renamed = {text: stand_ins[token_id] for token_id, text in self._contents.items()}
        blind = FastTokenizer.from_str(json.dumps(_rename(self._state(), renamed)))
        wrong = [n for n, name in stand_ins.items() if blind.token_to_id(name) != n]
        if wrong:
            raise invalid_params(
                "messages",
                "the text of control tokens can't be kept apart with this tokenizer; leave it "
                "out of the messages",
            )
        return blind, stand_ins

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._fast.to_str())
        return state


def _opening(text: str) -> str:
    """Where a control token could begin; for one that begins like a word, where it stands."""
    first, rest = re.escape(text[0]), re.escape(text[1:])
    return f"{first}(?={rest})" if text[0].isalnum() else first


def _exact(token: AddedToken) -> AddedToken:
    return AddedToken(
        token.content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=False,
    )


def _rename(state: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A tokenizer.json with other names for some added tokens; their ids stay."""
    model = state["model"]
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {names.get(text, text): number for text, number in vocab.items()}
    else:
        model["vocab"] = [[names.get(text, text), score] for text, score in vocab]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        model["merges"] = [m for m in model["merges"] if not _parts(m) & names.keys()]
    for token in state["added_tokens"]:
        if token["content"] in names:
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            token.update(flags, content=names[token["content"]])
    state["post_processor"] = None
    return state


def _parts(merge: str | list[str]) -> set[str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return {left, right, left + right}
