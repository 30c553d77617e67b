"""Tokens that only tokenizer.json's companions declare give the ids that transformers gives."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

from factories.damage import edit_json
from mlxwire_worker.mlx_engine.text.declared_tokens import mend_mistral_pattern, special_tokens
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer

TEXTS = [
    "<|im_start|>user\nHi<|im_end|>\n",
    "a<new>b <tool> <end> c<|im_end|><|endoftext|>",
    "Hello  world \t<think>no</think>",
]
Edit = Callable[[Path], object]


def settings(path: Path, **changes: Any) -> None:
    edit_json(path / "tokenizer_config.json", lambda config: config.update(changes))


def drop(path: Path, file: str, name: str) -> None:
    edit_json(path / file, lambda value: value.pop(name, None))


def declare_without_marking(path: Path) -> None:
    """Leave the control tokens in the vocabulary, but not among the added tokens."""

    def edit(state: dict[str, Any]) -> None:
        for token in state["added_tokens"]:
            state["model"]["vocab"].setdefault(token["content"], token["id"])
        state["added_tokens"] = []

    edit_json(path / "tokenizer.json", edit)


def declare_new(path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        declared = config["added_tokens_decoder"]
        flags = next(iter(declared.values()))
        last = max(map(int, declared))
        # The later id comes first: transformers adds them by id.
        for index, content in ((last + 2, "<tool>"), (last + 1, "<new>")):
            declared[str(index)] = {**flags, "content": content}

    edit_json(path / "tokenizer_config.json", edit)


def use_the_older_files(path: Path) -> None:
    drop(path, "tokenizer_config.json", "added_tokens_decoder")
    (path / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    size = FastTokenizer.from_file(str(path / "tokenizer.json")).get_vocab_size()
    (path / "added_tokens.json").write_text(json.dumps({"<tool>": size + 1, "<new>": size}))


EDITS: dict[str, Edit] = {
    "unchanged": lambda path: None,
    "in the vocabulary, not marked": declare_without_marking,
    "new in the config": declare_new,
    "named special, not in the vocabulary": lambda path: settings(path, eos_token="<end>"),
    "further special": lambda path: settings(path, extra_special_tokens=["<new>", "<tool>"]),
    "older files": use_the_older_files,
    "both kinds of files": lambda path: (path / "special_tokens_map.json").write_text(
        json.dumps({"eos_token": "<|endoftext|>"})
    ),
}


@pytest.mark.parametrize("kind", EDITS)
def test_ids_are_those_of_transformers(
    models: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    EDITS[kind](path)

    theirs = PreTrainedTokenizerFast.from_pretrained(str(path), local_files_only=True)
    ours = Tokenizer.from_folder(path)

    assert [ours.encode(text) for text in TEXTS] == [theirs.encode(text) for text in TEXTS]
    assert ours.special_tokens.get("eos_token") == theirs.eos_token


class Large:
    """A tokenizer by what the mend looks at: its size and its pre-tokenizer."""

    def __init__(self, size: int = 131072) -> None:
        self.size = size
        self.pre_tokenizer: Any = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def get_vocab_size(self) -> int:
        return self.size


def pieces(tokenizer: Any) -> list[str]:
    return [
        piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("'The 123HELLOworld")
    ]


@pytest.mark.parametrize(
    ("settings", "config", "size", "mends"),
    [
        ({"fix_mistral_regex": True}, {"model_type": "mistral"}, 131072, True),
        ({"fix_mistral_regex": True}, {"model_type": "qwen3"}, 131072, False),
        ({"fix_mistral_regex": True}, {"model_type": "mistral"}, 32000, False),
        ({"fix_mistral_regex": False}, {"model_type": "mistral"}, 131072, False),
        ({}, {"model_type": "mistral"}, 131072, False),
        (
            {"fix_mistral_regex": True},
            {"model_type": "mistral", "transformers_version": "5.0.0"},
            131072,
            False,
        ),
    ],
)
def test_mistrals_pattern_is_mended_where_transformers_mends_it(
    settings: dict[str, Any], config: dict[str, Any], size: int, mends: bool
) -> None:
    tokenizer: Any = Large(size)
    before = pieces(tokenizer)

    mend_mistral_pattern(tokenizer, settings, config)

    assert (pieces(tokenizer) != before) is mends


def test_a_named_token_of_absurd_length_is_left_out() -> None:
    config = {"bos_token": "<s>", "eos_token": "q" * 100_000}
    assert special_tokens(config) == {"bos_token": "<s>"}
