"""Keeps the text of chat messages from becoming control tokens (SPEC §4.4).

Theory of operation. A user who writes ``<|im_end|>`` must not end a turn. Nothing in a rendered
conversation says which characters came from a message: a template may trim, split, quote and
escape them. So the messages are marked before the render:

1. `ControlTokens.mark` chooses a private-use character that occurs in no message, and inserts it
   after every character of a message that could begin a control token. The text of a control token
   in a message is now broken in two; the template's own control tokens are whole.
2. The template renders the marked messages.
3. `ControlTokens.encode` finds the control tokens that are still whole: those are the template's.
   It removes the marks and encodes the plain text. If that gives the same control tokens, the ids
   are right, and they equal those of an encoder without any of this. This is nearly every chat.
4. Otherwise a message holds the text of a control token. Each of the template's control tokens is
   replaced with a stand-in, a random name that no message can guess, and the text is encoded by a
   second tokenizer (`_blind`) whose control tokens have these names and their old ids. The text
   in the messages then has no special meaning and becomes ordinary tokens.

Invariants:
- A text without control tokens in its messages has the ids that the plain tokenizer gives it.
- Roles are not marked, because templates compare them; a role that holds a control token's text is
  refused.
- In the assistant's turns, the family's marks of thoughts, channels and calls stay whole: models
  write them, and hosts send them back. Which ones the family has is read from its vocabulary.
- The marks don't change what a template does: it compares, finds and cuts the messages as if they
  were unmarked (`chat_environment.ChatEnvironment`). `prompts.encode_chat` renders the conversation
  without marks too. Where the texts differ nevertheless, that text counts if it is as safe.

Threads: the prepare thread encodes; the two cached tokenizers are created there at first use and
are read-only afterwards.

Hazards and what went wrong before: to encode with the interpreter's lock held keeps the worker from
reading requests, so all calls go through `fast_tokenizer`. A template that writes JSON in ASCII
writes the mark as an escape. `_blind` parses the whole tokenizer.json, a second for a large
vocabulary, so it is created only when a message first needs it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from tokenizers import AddedToken, models
from tokenizers import Tokenizer as FastTokenizer

from mlxwire_protocol import invalid_params

from .fast_tokenizer import encode_ids, encode_with_offsets

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
_PRIVATE_USE = re.compile("[\ue000-\uf8ff]")


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


class ControlTokens:
    """Marks the messages of a chat and encodes the rendered text, for one tokenizer."""

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
        answers = "|".join(
            re.escape(text)
            for text in sorted(self._contents.values(), key=len, reverse=True)
            if _OF_ANSWERS.search(text) and not _OF_TURNS.search(text)
        )
        self._openings_of_answers = re.compile(f"({answers or '(?!)'})|{openings or '(?!)'}")

    def mark(
        self, messages: list[dict[str, Any]], field: str = "messages"
    ) -> tuple[str, list[dict[str, str]]]:
        """Return a character that no message contains, and the messages marked with it.

        Raises: WireError ``invalid_params`` for a role that holds a control token's text, and for
        messages that use every private-use character.
        """
        used: set[str] = set()
        for index, message in enumerate(messages):
            self._check_role(message["role"], f"messages[{index}].role")
            used.update(_PRIVATE_USE.findall(message["content"] + message["role"]))
        mark = next((c for c in map(chr, range(0xE000, 0xF900)) if c not in used), None)
        if mark is None:
            raise invalid_params(
                field,
                f"`{field}` contains all 6,400 private-use characters, U+E000 to U+F8FF; leave "
                "one of them out",
            )
        return mark, [
            {"role": message["role"], "content": self._marked(message, mark)}
            for message in messages
        ]

    def encode(
        self, rendered: str, mark: str, check: Callable[[str], None] = lambda _: None
    ) -> list[int]:
        """Return the token ids of a rendered chat; only the template's control tokens are kept.

        ``check`` is called first with the plain text, and may raise to refuse it. Raises: WireError
        ``invalid_params`` if this tokenizer can't keep the texts apart.
        """
        # A template that writes JSON in ASCII has written the mark as an escape.
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

    def may_replace(self, plain: str, marked: str, messages: list[dict[str, Any]]) -> bool:
        """Return True if a render without marks is as safe as the one with marks.

        No message may have the text of a control token, and both renders the same control tokens:
        otherwise the template has put one together from pieces of messages.
        """
        if any(self._found(message["content"]) for message in messages):
            return False
        return self._found(plain) == self._found(marked)

    def _found(self, text: str) -> list[int]:
        """Return the numbers of the whole control tokens in a text, in their order."""
        return [
            number
            for number in encode_ids(self._finder, text, add_special_tokens=False)
            if number
        ]

    def _check_role(self, role: str, field: str) -> None:
        if self._found(role):
            raise invalid_params(
                field,
                "the role contains the text of a control token; give a plain name such as `user`",
            )

    def _marked(self, message: dict[str, Any], mark: str) -> str:
        if message["role"] == "assistant":
            return self._openings_of_answers.sub(
                lambda found: found[1] or found[0] + mark,
                message["content"],
            )
        return self._openings.sub(lambda found: found[0] + mark, message["content"])

    @cached_property
    def _finder(self) -> FastTokenizer:
        """Return a tokenizer that finds control tokens only, the leftmost and then the longest.

        Id 0 is all other text; id n is the n-th control token.
        """
        finder = FastTokenizer(models.WordLevel({"": 0}, unk_token=""))
        known = self._fast.get_added_tokens_decoder()
        finder.add_tokens([_exact(known[token_id]) for token_id in self._ids])
        return finder

    @cached_property
    def _blind(self) -> tuple[FastTokenizer, Mapping[int, str]]:
        """Return a copy of the tokenizer with random names for its control tokens, and the names.

        The copy is created when a message first holds a control token's text. Raises: WireError
        ``invalid_params`` if the renamed tokens do not keep their ids.
        """
        nonce = secrets.token_hex(16)
        stand_ins = {token_id: f"<{nonce}:{token_id}>" for token_id in self._ids}
        renamed = {text: stand_ins[token_id] for token_id, text in self._contents.items()}
        blind = FastTokenizer.from_str(json.dumps(_rename(self._state(), renamed)))
        wrong = [n for n, name in stand_ins.items() if blind.token_to_id(name) != n]
        if wrong:
            raise invalid_params(
                "messages",
                "a message contains the text of a control token, which can't be kept as plain "
                "text with this tokenizer; leave that text out of the messages",
            )
        return blind, stand_ins

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self._fast.to_str())
        return state


def _opening(text: str) -> str:
    """Return a pattern for the first character of a control token.

    If that is a letter or a digit, the pattern also requires the rest of the token to follow.
    """
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
    """Rename some added tokens in the content of a tokenizer.json; their ids do not change."""
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
