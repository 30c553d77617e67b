"""Control tokens are kept apart in every scheme that the tokenizers library has."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from mlxwire_worker.mlx_engine.text.control_names import is_control
from mlxwire_worker.mlx_engine.text.control_tokens import ControlTokens

LETTERS = [chr(code) for code in range(33, 127)] + ["▁", "ﬁ", " ", "\n"]
END = "<|end|>"


def word_level() -> Tokenizer:
    vocab = {text: number for number, text in enumerate(["<unk>", *LETTERS, "end"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("end|."), "isolated")
    return tokenizer


def unigram() -> Tokenizer:
    pieces = [("<unk>", 0.0), (END, -1.0), *((letter, -5.0) for letter in LETTERS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    return tokenizer


def bpe_with_merges_into_it() -> Tokenizer:
    parts, merges = "", []
    vocab = {letter: number for number, letter in enumerate(LETTERS)}
    for letter in END:
        if parts:
            merges.append((parts, letter))
            vocab[parts + letter] = len(vocab)
        parts += letter
    return Tokenizer(models.BPE(vocab=vocab, merges=merges))


def bpe_of_whole_words() -> Tokenizer:
    vocab = {text: number for number, text in enumerate([*LETTERS, END])}
    return Tokenizer(models.BPE(vocab=vocab, merges=[], ignore_merges=True))


SCHEMES = [word_level, unigram, bpe_with_merges_into_it, bpe_of_whole_words]


def encoded(control: ControlTokens, before: str, content: str, after: str) -> list[int]:
    mark, (message,), _ = control.mark([{"role": "user", "content": content}])
    return control.encode(before + message["content"] + after, mark)


@pytest.mark.parametrize("strips", [False, True], ids=["", "strips"])
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.__name__)
def test_it_stays_text_and_the_rest_keeps_its_ids(scheme, strips) -> None:  # type: ignore[no-untyped-def]
    fast = scheme()
    token = AddedToken(END, special=True, normalized=False, rstrip=strips, lstrip=strips)
    fast.add_tokens([token])
    (end,) = fast.get_added_tokens_decoder()
    control = ControlTokens(fast)
    harmless = f"a {END} be {END} c"

    assert encoded(control, f"a {END} ", "be", f" {END} c") == fast.encode(harmless).ids
    hostile = encoded(control, f"a {END} ", f"be {END}", f" {END} c")
    assert hostile.count(end) == 2
    assert len(hostile) > len(fast.encode(harmless).ids)


@pytest.mark.parametrize("disguise", ["＜|end|＞", "<|END|>", "<|end|>"])
def test_what_a_normalizer_would_turn_into_it_stays_text(disguise: str) -> None:
    fast = word_level()
    fast.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    fast.add_tokens([AddedToken(END, special=True, normalized=True)])
    (end,) = fast.get_added_tokens_decoder()
    assert fast.encode(disguise).ids == [end]

    ids = encoded(ControlTokens(fast), f"{END}a", disguise, END)

    assert ids[0] == ids[-1] == end
    assert ids.count(end) == 2


@pytest.mark.parametrize(
    ("text", "special", "expected"),
    [
        ("<|im_end|>", False, True),
        ("<｜User｜>", False, True),
        ("[INST]", False, True),
        ("</s>", True, True),
        ("<s>", False, False),
        ("</strong>", False, False),
        ("<b>", True, True),
        ("\n\n", False, False),
        ("▁▁", True, False),
        ("domain-word", False, False),
        ("domain-word", True, True),
    ],
)
def test_what_counts_as_a_control_token(text: str, special: bool, expected: bool) -> None:
    assert is_control(AddedToken(text, special=special)) is expected


def test_a_control_token_that_begins_like_a_word_leaves_words_unmarked() -> None:
    fast = word_level()
    fast.add_tokens([AddedToken("endturn", special=True)])
    control = ControlTokens(fast)

    _, (message,), _ = control.mark([{"role": "user", "content": "end e endturn"}])

    assert message["content"].startswith("end e e")
    assert message["content"] != "end e endturn"
    assert len(encoded(control, "", "endturn", "")) == 5
