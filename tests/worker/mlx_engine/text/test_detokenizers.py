"""The pieces of an answer add up to what it adds to the decoded prompt, byte for byte."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders

from factories.tokenizer_kinds import KINDS, tokenizer_of
from mlxwire_worker.mlx_engine.text.detokenizers import HELD_TOKENS, detokenizer_of
from mlxwire_worker.mlx_engine.text.token_texts import TokenTexts, bytes_by_character
from support.byte_runs import decode_kept

TEXTS = [
    "Once upon a time there was a young cat",
    "    def f(x):\n        return x  # two spaces\n\n\tif a:\n",
    "Grüße aus Zürich — naïve café",
    "你好，世界。こんにちは 안녕 ខ្មែរ 𐍈",
    "🚀👩‍👩‍👧‍👦🇩🇪 and e\u0301 combining",
    "\x00\x07\x7f\x80 \u2028\u2029\u0085\ufeff\u200b",
    "a real \ufffd, \ufffd\ufffd and at the end \ufffd",
    "a<think> b</think>  <s> c<|im_end|>d",
    "▁▁ _ __ Hello , world . It 's do n't ! ?",
    " leading, trailing and   runs   ",
]
SUITED = ("qwen", "llama3", "tekken", "gemma", "llama2")
"""Kinds that keep every character of a text."""


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_is_what_it_adds_to_the_prompt_at_every_split(kind: str) -> None:
    fast = tokenizer_of(kind)
    texts = texts_of(fast)
    splits = 0
    for text in [*TEXTS, "".join(TEXTS)]:
        ids = fast.encode(text).ids
        for place in range(1, len(ids)):
            splits += holds(fast, texts, ids[:place], ids[place:])
    assert splits > 100


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(KINDS), text=st.text(min_size=1, max_size=40), data=st.data())
def test_any_text_is_streamed_whole_from_any_split(
    kind: str, text: str, data: st.DataObject
) -> None:
    fast = tokenizer_of(kind)
    ids = fast.encode("a" + text).ids
    place = data.draw(st.integers(1, max(len(ids) - 1, 1)))
    holds(fast, texts_of(fast), ids[:place], ids[place:])


@pytest.mark.parametrize("kind", KINDS)
def test_any_ids_are_streamed_as_the_library_decodes_them(kind: str) -> None:
    """Random ids, some of which no token has."""
    said = decode_kept if kind in ("gemma", "llama2") else decode
    fast = tokenizer_of(kind)
    texts = texts_of(fast)
    dice = random.Random(kind)
    opening = fast.encode("a").ids[-1]  # a prompt has text, though a random id may have none
    held = 0
    for _ in range(1500):
        ids = dice.choices(range(fast.get_vocab_size() + 3), k=dice.randrange(2, 14))
        prompt = [opening, *ids[:2]]
        before, whole = (said(fast, some) for some in (prompt, prompt + ids[2:]))
        if whole.startswith(before):
            assert stream(texts, prompt, ids[2:]) == whole[len(before) :], (prompt, ids)
            held += 1
    assert held > 300


@pytest.mark.parametrize("kind", SUITED)
def test_a_character_that_begins_in_the_prompt_is_sent_whole(kind: str) -> None:
    fast = tokenizer_of(kind)
    ids = fast.encode("a ᚠ b", add_special_tokens=False).ids
    inside = [n for n in range(1, len(ids)) if decode(fast, ids[:n]).endswith("\ufffd")]
    assert inside
    for place in inside:
        assert stream(texts_of(fast), ids[:place], ids[place:]) == "ᚠ b"


@pytest.mark.parametrize("kind", SUITED)
def test_a_character_that_the_prompt_leaves_incomplete_is_not_repeated(kind: str) -> None:
    fast = tokenizer_of(kind)
    ids = fast.encode("a ᚠ", add_special_tokens=False).ids[:-1]
    word = fast.encode(" b", add_special_tokens=False).ids
    added = decode(fast, ids + word)[len(decode(fast, ids)) :]

    assert stream(texts_of(fast), ids, word) == added
    assert "\ufffd" not in added
    assert stream(texts_of(fast), ids, []) == ""


@pytest.mark.parametrize("kind", SUITED)
def test_a_character_is_held_until_it_is_whole(kind: str) -> None:
    fast = tokenizer_of(kind)
    prompt = fast.encode("a").ids
    ids = fast.encode("xᚠy", add_special_tokens=False).ids
    detokenizer = detokenizer_of(texts_of(fast), prompt)

    pieces = [detokenizer.add_token(token) for token in ids]

    assert detokenizer.finalize() == ""
    assert "".join(pieces).endswith("xᚠy")
    assert not any("\ufffd" in piece for piece in pieces)
    cut = detokenizer_of(texts_of(fast), prompt)
    completed = next(place for place, piece in enumerate(pieces) if "ᚠ" in piece)
    known = [cut.add_token(token) for token in ids[:completed]]
    assert "\ufffd" not in "".join(known)
    assert cut.finalize().strip("\ufffd") == ""
    assert cut.finalize() == ""


def test_line_breaks_that_are_byte_tokens_do_not_wait() -> None:
    fast = tokenizer_of("llama2")
    line_break = fast.token_to_id("<0x0A>")
    half = fast.token_to_id("<0xE2>")
    detokenizer = detokenizer_of(texts_of(fast), fast.encode("a").ids)

    assert detokenizer.add_token(line_break) == "\n"
    assert detokenizer.add_token(half) == ""
    # No UTF-8 from here to the end of the run: a U+FFFD for each byte, as in the library.
    assert detokenizer.add_token(line_break) == "\ufffd\ufffd"
    assert detokenizer.add_token(line_break) == "\ufffd"
    assert detokenizer.add_token(fast.token_to_id("<s>")) == "<s>"
    assert detokenizer.add_token(line_break) == "\n"


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_detokenizer_holds_does_not_grow(kind: str) -> None:
    """The worst a model can do: nothing but first bytes, or a decoder's own U+FFFD."""
    fast = tokenizer_of(kind)
    first = fast.token_to_id("<0xE2>") or fast.token_to_id("â") or 5
    detokenizer = detokenizer_of(texts_of(fast), [1])
    text = "".join(detokenizer.add_token(first) for _ in range(500))

    held = [getattr(detokenizer, name, ()) for name in ("_pending", "_held", "_before")]
    assert all(len(one) <= HELD_TOKENS for one in held)
    assert len(text) >= 400 or texts_of(fast).text_of(first) == "" or kind == "ctc"


@pytest.mark.parametrize(
    ("decoder", "kind"),
    [
        (decoders.ByteLevel(), "byte_level"),
        (decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()]), "byte_level"),
        (decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 0, 1)]), "in_context"),
        (decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 1, 1)]), "in_context"),
        (decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]), "in_context"),
        (decoders.Sequence([decoders.Fuse(), decoders.Replace("a b", "c")]), "in_context"),
        (decoders.Sequence([decoders.Metaspace(), decoders.Fuse()]), "token_by_token"),
    ],
)
def test_a_decoder_that_looks_at_other_tokens_is_left_to_the_library(
    decoder: decoders.Decoder, kind: str
) -> None:
    fast = FastTokenizer.from_str(tokenizer_of("qwen").to_str())
    fast.decoder = decoder
    texts = texts_of(fast)
    assert texts.kind == kind
    for text in TEXTS[:2]:
        ids = fast.encode(text).ids
        for place in range(1, len(ids)):
            holds(fast, texts, ids[:place], ids[place:])


@pytest.mark.parametrize("kind", ["qwen", "gemma", "llama2", "unigram", "word-piece"])
def test_the_text_of_a_token_is_what_it_adds(kind: str) -> None:
    fast = tokenizer_of(kind)
    texts = texts_of(fast)
    for text in TEXTS[:1]:
        ids = fast.encode(text).ids
        for place in range(1, len(ids)):
            assert texts.text_of(ids[place]) == stream(
                texts, ids[:place], ids[place : place + 1]
            )


def test_the_alphabet_is_the_librarys() -> None:
    alphabet = bytes_by_character()
    assert sorted(alphabet.values()) == list(range(256))
    for text in map(chr, range(0x20, 0x800)):
        spelled = tokenizer_of("qwen").pre_tokenizer.pre_tokenize_str(text)
        assert bytes(alphabet[c] for part, _ in spelled for c in part) == text.encode()


def texts_of(fast: FastTokenizer) -> TokenTexts:
    return TokenTexts(fast, 1 + max(fast.get_vocab(with_added_tokens=True).values()))


def decode(fast: FastTokenizer, ids: Sequence[int]) -> str:
    text: str = fast.decode(list(ids), skip_special_tokens=False)
    return text


def stream(texts: TokenTexts, prompt: list[int], answer: list[int]) -> str:
    detokenizer = detokenizer_of(texts, prompt)
    pieces = [detokenizer.add_token(token) for token in answer]
    return "".join([*pieces, detokenizer.finalize()])


def holds(fast: FastTokenizer, texts: TokenTexts, prompt: list[int], answer: list[int]) -> bool:
    """Compare an answer's pieces with the whole decodes; False where they can't be compared.

    A prompt that ends within a character is decoded with U+FFFD, which the whole text may not have.
    """
    before, whole = decode(fast, prompt), decode(fast, prompt + answer)
    pieces = stream(texts, prompt, answer)
    if whole.startswith(before):
        assert pieces == whole[len(before) :], (prompt, answer)
        return True
    if before.endswith("\ufffd"):
        assert whole.endswith(pieces), (prompt, answer)
    return False
