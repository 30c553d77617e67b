"""Small tokenizers in the families' own schemes, trained when they are asked for.

Byte-level BPE after Qwen and Llama 3, SentencePiece-style BPE with byte fallback after Gemma.
Added tokens keep the published order; only Gemma's, which come first, keep the published ids.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from .corpus import LATIN, OTHER_SCRIPTS

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN_PATTERN = _LETTERS + r"\p{N}" + _REST
LLAMA3_PATTERN = _LETTERS + r"\p{N}{1,3}" + _REST

_BYTE_LEVEL_VOCABULARY = 640
_GEMMA_MERGED_VOCABULARY = 420


@dataclass(frozen=True)
class Marker:
    """An added token; one that is not special survives `skip_special_tokens`."""

    content: str
    special: bool


def special(*texts: str) -> list[Marker]:
    """Return markers of structure, such as `<|im_end|>`, which decoding may skip."""
    return [Marker(text, special=True) for text in texts]


def plain(*texts: str) -> list[Marker]:
    """Return markers that are part of the text, such as `<think>`."""
    return [Marker(text, special=False) for text in texts]


def train_qwen(markers: list[Marker]) -> Tokenizer:
    """Train byte-level BPE with Qwen's pattern, NFC, and no BOS."""
    tokenizer = _train_byte_level(
        QWEN_PATTERN, normalizer=normalizers.NFC(), ignore_merges=False
    )
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False
    )
    _add(tokenizer, markers)
    return tokenizer


def train_deepseek_qwen(markers: list[Marker], *, bos: str) -> Tokenizer:
    """Train Qwen's scheme with DeepSeek's control tokens and a BOS before each text."""
    tokenizer = train_qwen(markers)
    tokenizer.post_processor = _leading_bos(tokenizer, bos)
    return tokenizer


def train_llama3(markers: list[Marker], *, bos: str) -> Tokenizer:
    """Train byte-level BPE with Llama 3's pattern (digits in threes), known words, BOS first."""
    tokenizer = _train_byte_level(LLAMA3_PATTERN, normalizer=None, ignore_merges=True)
    _add(tokenizer, markers)
    byte_level = processors.ByteLevel(add_prefix_space=True, trim_offsets=False, use_regex=True)
    tokenizer.post_processor = processors.Sequence([byte_level, _leading_bos(tokenizer, bos)])
    return tokenizer


def train_gemma(markers: list[Marker], *, bos: str) -> Tokenizer:
    """Train SentencePiece-style BPE: spaces are ▁, unknown characters bytes, BOS first."""
    # Trained on Latin text alone: every other script then needs the byte tokens.
    trainee = Tokenizer(BPE())
    trainee.normalizer = normalizers.Replace(" ", "▁")
    trainee.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")
    trainee.train_from_iterator(
        LATIN.splitlines(), BpeTrainer(vocab_size=_GEMMA_MERGED_VOCABULARY, show_progress=False)
    )
    learned: dict[str, Any] = _model_state(trainee)

    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    ordered = dict.fromkeys([marker.content for marker in markers] + byte_tokens + pieces)
    tokenizer = Tokenizer(
        BPE(
            vocab={token: index for index, token in enumerate(ordered)},
            merges=[tuple(merge) for merge in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    _add(tokenizer, markers)
    tokenizer.post_processor = _leading_bos(tokenizer, bos)
    return tokenizer


def added_tokens_decoder(tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """Return the entry `added_tokens_decoder` of tokenizer_config.json: id (as text) to token."""
    return {
        str(index): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": token.single_word,
            "special": token.special,
        }
        for index, token in sorted(tokenizer.get_added_tokens_decoder().items())
    }


def _train_byte_level(
    pattern: str, *, normalizer: normalizers.Normalizer | None, ignore_merges: bool
) -> Tokenizer:
    tokenizer = Tokenizer(BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=_BYTE_LEVEL_VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((LATIN + OTHER_SCRIPTS).splitlines(keepends=True), trainer)
    return tokenizer


def _add(tokenizer: Tokenizer, markers: list[Marker]) -> None:
    tokenizer.add_tokens(
        [
            AddedToken(marker.content, special=marker.special, normalized=False)
            for marker in markers
        ]
    )


def _leading_bos(tokenizer: Tokenizer, bos: str) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos}:1 $B:1",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )


def _model_state(tokenizer: Tokenizer) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return state
