"""A prompt that can't fit is refused without being tokenized, and only if that is certain."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer

from factories import FAMILIES
from mlxwire_protocol import WireError
from mlxwire_protocol.chat.turns import Message
from mlxwire_protocol.messages import Batch, Chat, Classify, Generate
from mlxwire_worker.mlx_engine.text import token_bounds
from mlxwire_worker.mlx_engine.text.token_bounds import TokenBound
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from support.direct import Direct
from support.engine_prompts import classify_prompts_of, prompt_of
from support.model_worker import Models
from support.tiny_model import TINY

WORDS = [" ", "  ", "▁", "\n", "the", "e\u0301", "你好", "🚀", "<|im_end|>", "가\u11a8", "\u1fef", "12", "\t"]  # fmt: skip


class Tokenizers(list[FastTokenizer]):
    """All families'."""

    def __repr__(self) -> str:
        return "tokenizers"  # their own is megabytes, and hypothesis asks for it


@pytest.fixture(scope="module")
def tokenizers(models: Models) -> Tokenizers:
    return Tokenizers(Tokenizer.from_folder(models(family))._fast for family in FAMILIES)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=30), st.integers(1, 200))
def test_a_text_has_never_fewer_tokens_than_told(
    tokenizers: Tokenizers, words: list[str], times: int
) -> None:
    text = "".join(words) * times
    for fast in tokenizers:
        bound = TokenBound.of(fast)
        assert bound is not None
        truth = len(fast.encode(text, add_special_tokens=False).ids)
        assert bound.at_least(text, 1 << 40) <= truth


def test_the_bound_is_worth_its_while(tokenizers: Tokenizers) -> None:
    text = "Once upon a time there was a cat, 你好. " * 3000
    for fast in tokenizers:
        bound = TokenBound.of(fast)
        assert bound is not None
        assert bound.at_least(text, 1 << 40) > len(text) / 30
        assert bound.at_least(text, 100) > 100


def test_composition_leaves_the_characters_that_are_counted_as_they_are() -> None:
    kept = [chr(n) for n in range(0x110000) if token_bounds._COMPOSED.fullmatch(chr(n))]
    seconds = set()
    for n in itertools.chain(range(0xD800), range(0xE000, 0x110000)):
        parts = unicodedata.decomposition(chr(n)).split()
        if parts and not parts[0].startswith("<"):
            seconds.update(chr(int(part, 16)) for part in parts[1:])
    for character in kept:
        assert unicodedata.normalize("NFC", character) == character
        assert unicodedata.combining(character) == 0
        assert character not in seconds
    assert len(kept) > 30_000


def without(path: list[str], value: Any) -> Callable[[dict[str, Any]], object]:
    def change(state: dict[str, Any]) -> None:
        state[path[0]] = value

    return change


DROPPING: dict[str, Callable[[dict[str, Any]], object]] = {
    "strip": without(
        ["normalizer"], {"type": "Strip", "strip_left": True, "strip_right": True}
    ),
    "lower": without(["normalizer"], {"type": "Lowercase"}),
    "NFKC": without(["normalizer"], {"type": "NFKC"}),
    "replace": without(
        ["normalizer"], {"type": "Replace", "pattern": {"String": "a"}, "content": ""}
    ),
    "white space": without(["pre_tokenizer"], {"type": "WhitespaceSplit"}),
    "nothing cuts": without(["pre_tokenizer"], None),
    "removed": without(
        ["pre_tokenizer"],
        {"type": "Split", "pattern": {"String": "a"}, "behavior": "Removed", "invert": False},
    ),
    "stripping token": lambda state: state["added_tokens"][0].update(rstrip=True),
}


@pytest.mark.parametrize("kind", DROPPING)
def test_nothing_is_told_of_a_tokenizer_that_may_drop_text(kind: str) -> None:
    state = json.loads((TINY / "tokenizer.json").read_text())
    assert TokenBound.of(FastTokenizer.from_str(json.dumps(state))) is not None
    DROPPING[kind](state)

    assert TokenBound.of(FastTokenizer.from_str(json.dumps(state))) is None


@pytest.fixture(scope="module")
def tiny() -> Iterator[Direct]:
    direct = Direct(TINY)
    yield direct
    direct.close()


def test_a_prompt_of_megabytes_is_refused_without_its_tokens(
    tiny: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Once upon a time there was a cat. " * 100_000
    tokenizer = tiny.loaded.tokenizer
    monkeypatch.setattr(tokenizer, "encode", None)
    monkeypatch.setattr(type(tokenizer.control_tokens), "_encode_apart", None)
    engine = tiny.engine

    def classified(request: Classify) -> None:
        raise classify_prompts_of(engine, request).failed[0]

    asked: list[tuple[str, Callable[[], object]]] = [
        ("prompt", lambda: prompt_of(engine, Generate(id="r", prompt=text))),
        ("prompts[0]", lambda: prompt_of(engine, Batch(id="r", prompts=[text]))),
        ("prompts[0]", lambda: classified(Classify(id="r", prompts=[text]))),
    ]
    message = Message(role="user", content=text)
    asked += [
        (
            "messages",
            lambda special=special: prompt_of(  # type: ignore[misc]
                engine, Chat(id="r", messages=[message], special_tokens=special)
            ),
        )
        for special in (False, True)
    ]
    for field, ask in asked:
        with pytest.raises(WireError) as raised:
            ask()
        error = raised.value
        assert (error.code, error.field) == ("context_overflow", field)
        assert error.data["at_least"] is True
        assert error.data["prompt_tokens"] >= error.data["context_len"]
        assert "at least" in error.message


def test_a_long_text_that_is_only_read_may_fill_the_context() -> None:
    tokenizer = Tokenizer.from_folder(TINY)
    text = "Once upon a time there was a cat. " * 40_000
    room = tokenizer.at_least(text, len(text))

    tokenizer.refuse_long(text, "texts[0]", room, answered=False)

    for answered, most in ((True, room), (False, room - 1)):
        with pytest.raises(WireError) as raised:
            tokenizer.refuse_long(text, "texts[0]", most, answered=answered)
        assert ("the answer included" in raised.value.message) == answered
