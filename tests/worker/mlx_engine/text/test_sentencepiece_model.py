"""A folder with tokenizer.model alone has the ids of SentencePiece itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from factories.corpus import LATIN, OTHER_SCRIPTS
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer

TEXTS = [
    "Hello",
    "The quick brown fox jumps over the lazy dog",
    "a\nb",
    "你好 ᚠ 🚀",
    "def f(x):\n    return x",
    "trailing  and   runs ",
]
LEADING = [" Hello", "  two"]


@pytest.mark.parametrize("folder", [{}, {"model_type": "mistral"}, {"model_type": "llama"}])
@pytest.mark.parametrize("named", [None, "LlamaTokenizer"])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("shrinks", [True, False])
def test_the_ids_are_those_of_sentencepiece(
    tmp_path: Path,
    folder: dict[str, Any],
    named: str | None,
    kind: str,
    prefix: bool,
    shrinks: bool,
) -> None:
    processor = train(
        tmp_path, model_type=kind, add_dummy_prefix=prefix, remove_extra_whitespaces=shrinks
    )
    (tmp_path / "config.json").write_text(json.dumps(folder))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": named} if named else {})
    )

    mine = Tokenizer.from_folder(tmp_path)

    # transformers' own class for Llama reads one space less before a text that begins with one.
    texts = TEXTS if named and not shrinks else [*TEXTS, *LEADING]
    for text in texts:
        assert mine.encode(text, add_special_tokens=False) == processor.encode(text), text
    if not shrinks:
        for text in TEXTS:
            assert mine.decode(mine.encode(text, add_special_tokens=False)) == text


@pytest.mark.parametrize("named", [None, "LlamaTokenizer"])
def test_merges_follow_the_scores_and_not_the_ids(tmp_path: Path, named: str | None) -> None:
    """Mistral's file gives runs of spaces low ids and the lowest scores."""
    train(tmp_path, model_type="bpe", remove_extra_whitespaces=False)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": named} if named else {})
    )
    file = tmp_path / "tokenizer.model"
    proto = ModelProto()
    proto.ParseFromString(file.read_bytes())
    ordinary = [piece for piece in proto.pieces if piece.type == 1]
    before = ordinary[0].piece
    ordinary[0].piece = "▁▁"
    ordinary[0].score = -1e9
    ordinary[-1].piece = before  # a piece is kept for the one that the run replaces
    file.write_bytes(proto.SerializeToString())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(file))

    mine = Tokenizer.from_folder(tmp_path)

    for text in ("a  the", "a\n  the", "the   dog    a"):
        assert mine.encode(text, add_special_tokens=False) == processor.encode(text), text


def test_a_file_that_needs_another_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mistral"}')
    (tmp_path / "tokenizer_config.json").write_text("{}")
    config = {"pattern": "[a-z]+", "default_vocab_size": 256, "default_num_special_tokens": 0}
    (tmp_path / "tekken.json").write_text(json.dumps({"config": config, "vocab": []}))

    with pytest.raises(WireError) as refused:
        Tokenizer.from_folder(tmp_path)

    assert refused.value.code == "unsupported_model"


def test_the_special_tokens_are_those_of_the_file(tmp_path: Path) -> None:
    train(tmp_path, model_type="bpe")

    mine = Tokenizer.from_folder(tmp_path)

    assert mine.special_tokens["bos_token"] == "<s>"
    assert mine.special_tokens["eos_token"] == "</s>"


@pytest.mark.parametrize("kind", ["word", "char"])
def test_a_model_of_words_or_characters_is_refused(tmp_path: Path, kind: str) -> None:
    train(tmp_path, model_type=kind, byte_fallback=False)

    with pytest.raises(WireError) as refused:
        Tokenizer.from_folder(tmp_path)

    assert refused.value.code == "unsupported_model"
    assert refused.value.data["file"] == "tokenizer.model"


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_damaged_file_is_refused(tmp_path: Path, kept: int) -> None:
    train(tmp_path, model_type="bpe")
    file = tmp_path / "tokenizer.model"
    file.write_bytes(file.read_bytes()[:kept])

    with pytest.raises(WireError) as refused:
        Tokenizer.from_folder(tmp_path)

    assert refused.value.code in ("model_load_failed", "unsupported_model")


def train(path: Path, **options: Any) -> sentencepiece.SentencePieceProcessor:
    lines = (LATIN + OTHER_SCRIPTS).splitlines()
    settings: dict[str, Any] = {
        "vocab_size": 650,
        "byte_fallback": True,
        "hard_vocab_limit": False,
        "character_coverage": 0.98,
        "normalization_rule_name": "identity",
        "minloglevel": 9,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(path / "tokenizer"),
        **(settings | options),
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(path / "tokenizer.model"))
