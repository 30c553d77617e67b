"""Small tokenizers of every kind that models have, trained when they are asked for.

Beside those of the families: Llama 2, Mistral with a prefix, Unigram, WordPiece, BPE with `</w>`,
and vocabularies whose control tokens come first, as tekken's.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer

from .corpus import LATIN, OTHER_SCRIPTS
from .tokenization import plain, special, train_gemma, train_llama3, train_qwen

_MARKERS = special("<unk>", "<s>", "</s>") + plain("<think>", "</think>")
_CORPUS = (LATIN + OTHER_SCRIPTS).splitlines()


def _qwen() -> Tokenizer:
    return train_qwen(special("<|endoftext|>", "<|im_end|>") + plain("<think>"))


def _llama3() -> Tokenizer:
    return train_llama3(special("<|begin_of_text|>", "<|eot_id|>"), bos="<|begin_of_text|>")


def _gemma() -> Tokenizer:
    return train_gemma(_MARKERS, bos="<s>")


def _llama2() -> Tokenizer:
    """Gemma's pieces with Llama 2's dummy prefix, which its decoder takes away again."""
    tokenizer = train_gemma(_MARKERS, bos="<s>")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def _tekken() -> Tokenizer:
    """Byte-level BPE whose control tokens have the first ids, as tekken.json gives them."""
    tokenizer = _llama3()
    state: dict[str, Any] = json.loads(tokenizer.to_str())
    first = [token["content"] for token in state["added_tokens"]]
    names = dict.fromkeys([*first, *sorted(state["model"]["vocab"], key=_rank(state))])
    state["model"]["vocab"] = {name: place for place, name in enumerate(names)}
    for token in state["added_tokens"]:
        token["id"] = first.index(token["content"])
    state["post_processor"] = None
    return Tokenizer.from_str(json.dumps(state))


def _rank(state: dict[str, Any]) -> Callable[[str], int]:
    vocabulary: dict[str, int] = state["model"]["vocab"]
    return vocabulary.__getitem__


def _unigram(prepend_scheme: str) -> Tokenizer:
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=prepend_scheme)
    trainer = UnigramTrainer(
        vocab_size=400, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


def _word_piece() -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = WordPieceTrainer(
        vocab_size=400, special_tokens=["[UNK]", "[SEP]"], show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


def _end_of_word() -> Tokenizer:
    tokenizer = Tokenizer(BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


def _ctc() -> Tokenizer:
    """A decoder that leaves repeated tokens out, and blanks, as those of speech models."""
    tokenizer = _word_piece()
    tokenizer.decoder = decoders.CTC(pad_token="[SEP]", word_delimiter_token="|")
    return tokenizer


def _without_decoder() -> Tokenizer:
    tokenizer = _word_piece()
    # The library's setter accepts no None.
    return Tokenizer.from_str(json.dumps(json.loads(tokenizer.to_str()) | {"decoder": None}))


_KINDS: dict[str, Callable[[], Tokenizer]] = {
    "qwen": _qwen,
    "llama3": _llama3,
    "tekken": _tekken,
    "gemma": _gemma,
    "llama2": _llama2,
    "unigram": functools.partial(_unigram, "always"),
    "unigram-first": functools.partial(_unigram, "first"),
    "unigram-never": functools.partial(_unigram, "never"),
    "word-piece": _word_piece,
    "end-of-word": _end_of_word,
    "ctc": _ctc,
    "no-decoder": _without_decoder,
}
KINDS = tuple(_KINDS)


@functools.cache
def tokenizer_of(kind: str) -> Tokenizer:
    """Train a tokenizer of one of `KINDS`; the same object at each call."""
    return _KINDS[kind]()
