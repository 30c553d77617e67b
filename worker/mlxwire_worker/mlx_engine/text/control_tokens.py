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
- All other texts of a turn or a tool are marked, also keys of arguments and schemas.
- In the content of the assistant's turns, the family's marks of thoughts, channels and calls stay
  whole: models write them, and hosts send them back. The vocabulary says which ones it has.
- The marks don't change what a template does: it compares, finds and cuts the messages as if they
  were unmarked (`chat_environment.ChatEnvironment`). `encode_chat` renders the conversation without
  marks too. Where the texts differ nevertheless, that text counts if it is as safe.

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
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from tokenizers import AddedToken, models
from tokenizers import Tokenizer as FastTokenizer

from mlxwire_protocol import invalid_params

from ..conversation.marking import texts_of, with_marks
from .control_names import in_answers, is_control
from .fast_tokenizer import Located, encode_ids, encode_with_offsets, locate

_PRIVATE_USE = re.compile("[\ue000-\uf8ff]")


class Marked(NamedTuple):
    """A mark, and the messages and tools in which it breaks the text of control tokens."""

    mark: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]


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
            if in_answers(text)
        )
        self._openings_of_answers = re.compile(f"({answers or '(?!)'})|{openings or '(?!)'}")

    def mark(
        self,
        messages: list[dict[str, Any]],
        tools: Sequence[dict[str, Any]] = (),
        field: str = "messages",
    ) -> Marked:
        """Return a character that no message and no tool contains, and both marked with it.

        Raises: WireError ``invalid_params`` for a role that holds a control token's text, and for
        texts that use every private-use character.
        """
        used: set[str] = set()
        for index, message in enumerate(messages):
            self._check_role(message["role"], f"messages[{index}].role")
            used.update(_PRIVATE_USE.findall("".join(texts_of(message))))
        for tool in tools:
            used.update(_PRIVATE_USE.findall("".join(texts_of(tool))))
        mark = next((c for c in map(chr, range(0xE000, 0xF900)) if c not in used), None)
        if mark is None:
            raise invalid_params(
                field,
                f"`{field}` contains all 6,400 private-use characters, U+E000 to U+F8FF; leave "
                "one of them out",
            )

        def marked(text: str) -> str:
            return self._openings.sub(lambda found: found[0] + mark, text)

        def marked_answer(text: str) -> str:
            return self._openings_of_answers.sub(
                lambda found: found[1] or found[0] + mark, text
            )

        turns = []
        for message in messages:
            turn = with_marks(message, marked)
            turn["role"] = message["role"]
            content = message.get("content")
            if message["role"] == "assistant" and content:
                turn["content"] = marked_answer(content)
            turns.append(turn)
        return Marked(mark, turns, [with_marks(tool, marked) for tool in tools])

    def encode(
        self, rendered: str, mark: str, check: Callable[[str], None] = lambda _: None
    ) -> list[int]:
        """Return the token ids of a rendered chat; only the template's control tokens are kept.

        ``check`` is called first with the plain text, and may raise to refuse it. Raises: WireError
        ``invalid_params`` if this tokenizer can't keep the texts apart.
        """
        return self.locate(rendered, mark, check, ends=False).ids

    def locate(
        self,
        rendered: str,
        mark: str,
        check: Callable[[str], None] = lambda _: None,
        *,
        ends: bool = True,
    ) -> Located:
        """Encode as `encode` does; return also where each token ends in the plain text.

        Without ``ends`` the list of them may be empty, which takes less time.
        """
        # A template that writes JSON in ASCII has written the mark as an escape.
        rendered = rendered.replace(json.dumps(mark)[1:-1], mark)
        plain = rendered.replace(mark, "")
        check(plain)
        if ends:
            found = locate(self._fast, plain)
        else:
            found = Located(encode_ids(self._fast, plain, add_special_tokens=False), [])
        if not self._ids:
            return found
        own = encode_with_offsets(self._finder, rendered)
        places = [
            (self._ids[number - 1], start, end)
            for number, (start, end) in zip(own.ids, own.offsets, strict=True)
            if number
        ]
        if [token for token in found.ids if token in self._contents] == [
            token for token, _, _ in places
        ]:
            return found
        return self._encode_apart(rendered, mark, places)

    def _encode_apart(
        self, rendered: str, mark: str, places: list[tuple[int, int, int]]
    ) -> Located:
        tokenizer, stand_ins = self._blind
        pieces: list[str] = []
        taken = renamed_size = plain_size = 0
        shifts: list[tuple[int, int]] = []
        for token, start, end in places:
            before = rendered[taken:start].replace(mark, "")
            pieces += [before, stand_ins[token]]
            renamed_size += len(before) + len(stand_ins[token])
            plain_size += len(before) + len(rendered[start:end].replace(mark, ""))
            shifts.append((renamed_size, renamed_size - plain_size))
            taken = end
        found = locate(tokenizer, "".join([*pieces, rendered[taken:].replace(mark, "")]))
        return found.shifted_back(shifts)

    def ids_in(self, text: str) -> list[int]:
        """Return the ids of the control tokens in a text, in their order."""
        return [self._ids[number - 1] for number in self._found(text)]

    def may_replace(self, plain: str, marked: str, given: list[dict[str, Any]]) -> bool:
        """Return True if a render without marks is as safe as the one with marks.

        No text of ``given``, the messages and tools, may have the text of a control token, and both
        renders must have the same control tokens: otherwise the template has put one together
        from pieces of messages.
        """
        if any(self._found(text) for one in given for text in texts_of(one)):
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
        blind = FastTokenizer.from_str(json.dumps(renamed_tokens(self._state(), renamed)))
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


def renamed_tokens(state: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
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
