"""Text to ids and ids to text as transformers does it, and never an exception."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from factories import FAMILIES
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from mlxwire_worker.prompts import Detokenizer
from support.byte_runs import decode_kept
from support.model_worker import Models, ModelWorker
from support.reference import reference

TEXTS = [
    "Hello, world!",
    "  leading and trailing  ",
    "tabs\tand\n\nlines\r\n   mixed",
    "Grüße aus Zürich — naïve café",
    "你好，世界。こんにちは 안녕",
    "🚀👩‍👩‍👧‍👦🇩🇪 and e\u0301 combining",
    "numbers 1234567890 3.14159 0x1F",
    "\u2028\u2029\u0085\ufeff\u200b\x00\x07",
    "<|im_start|>user\nHi<|im_end|><think>\n</think><eos><bos>[multimodal]<|eot_id|>",
    "<｜User｜>Hi<｜Assistant｜><｜end▁of▁sentence｜>",
    "don't   stop'll we've ▁▁ _ __",
    "\U0010ffff\ud7ff\ue000",
    "a" * 300,
]
VARIANTS = [(family, quantized) for family in FAMILIES for quantized in (False, True)]


@pytest.mark.parametrize(("family", "quantized"), VARIANTS)
def test_ids_are_those_of_transformers(models: Models, family: str, quantized: bool) -> None:
    path = models(family, quantized)
    mine = Tokenizer.from_folder(path)
    theirs = AutoTokenizer.from_pretrained(str(path))

    for text in TEXTS:
        for special in (True, False):
            expected = theirs.encode(text, add_special_tokens=special)
            assert mine.encode(text, add_special_tokens=special) == expected, text
        assert mine.encode_prompt(text) == reference(path).encode(text), text
    assert len(mine) == len(theirs)
    assert mine.special_tokens.get("bos_token") == theirs.bos_token
    assert mine.special_tokens.get("eos_token") == theirs.eos_token


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("eos", [None, True, False])
@pytest.mark.parametrize("bos", [None, True, False])
def test_flags_of_the_config_do_not_change_a_tokenizer_json(
    models: Models, tmp_path: Path, family: str, bos: bool | None, eos: bool | None
) -> None:
    config = read_config(models, family, tmp_path)
    for name, flag in (("add_bos_token", bos), ("add_eos_token", eos)):
        config.pop(name, None)
        if flag is not None:
            config[name] = flag
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))

    ids = Tokenizer.from_folder(tmp_path).encode("Hello there")

    assert ids == theirs.encode("Hello there")


def test_tokens_that_only_the_config_names_are_added(models: Models, tmp_path: Path) -> None:
    config = read_config(models, "qwen2", tmp_path)
    config |= {"pad_token": "<|fill|>", "additional_special_tokens": ["<|im_end|>", "<|more|>"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = AutoTokenizer.from_pretrained(str(tmp_path))

    ids = Tokenizer.from_folder(tmp_path).encode("a<|fill|>b<|more|>")

    assert ids == theirs.encode("a<|fill|>b<|more|>")
    assert len(ids) == 4


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(family=st.sampled_from(FAMILIES), text=st.text(max_size=60))
def test_any_text_has_transformers_ids_and_comes_back_whole(
    models: Models, family: str, text: str
) -> None:
    path = models(family)
    mine = Tokenizer.from_folder(path)

    ids = mine.encode(text, add_special_tokens=False)

    assert ids == reference(path).tokenizer.encode(text, add_special_tokens=False)
    assert streamed(mine, ids) == theirs_text(path, ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_are_transformers_text_for_any_ids(models: Models, family: str) -> None:
    path = models(family)
    mine = Tokenizer.from_folder(path)
    dice = random.Random(family)
    for _ in range(200):
        ids = dice.choices(range(len(mine)), k=dice.randrange(1, 30))
        expected = (
            decode_kept(mine._fast, ids) if family == "gemma3" else theirs_text(path, ids)
        )
        assert streamed(mine, ids) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_text_is_whole(models: Models, family: str) -> None:
    mine = Tokenizer.from_folder(models(family))
    lines = "".join(f"{TEXTS[n % len(TEXTS)]} {n}{chr(10) * (n % 3)}" for n in range(300))
    ids = mine.encode(lines, add_special_tokens=False)

    assert streamed(mine, ids) == theirs_text(models(family), ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_piece_ends_within_a_character(models: Models, family: str) -> None:
    mine = Tokenizer.from_folder(models(family))
    for text in TEXTS:
        ids = mine.encode(text, add_special_tokens=False)
        found = pieces(mine.detokenizer([]), ids)
        assert not any("\ufffd" in piece for piece in found), (text, found)
        assert len(found) == len(ids) + 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_character_that_is_never_finished_is_a_replacement_character(
    models: Models, family: str
) -> None:
    mine = Tokenizer.from_folder(models(family))
    ids = mine.encode("a🚀", add_special_tokens=False)

    text = "".join(pieces(mine.detokenizer([]), ids[:-1]))

    assert text.startswith("a")
    assert text.endswith("\ufffd")


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_that_are_no_tokens_do_not_raise_and_leave_the_rest_alone(
    models: Models, family: str
) -> None:
    mine = Tokenizer.from_folder(models(family))
    hello = mine.encode("Hello there", add_special_tokens=False)
    for odd in (len(mine), len(mine) + 1, 10**6, 2**31 - 1):
        detokenizer = mine.detokenizer([])
        text = "".join(pieces(detokenizer, [*hello, odd, *hello]))
        assert "Hello there" in text
        assert text.endswith("Hello there")
        assert mine.decode([odd]) == ""


def test_a_hole_in_the_vocabulary_does_not_raise(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "holes"
    shutil.copytree(models("qwen2"), path)
    raw = json.loads((path / "tokenizer.json").read_text())
    last = max(token["id"] for token in raw["added_tokens"])
    raw["model"]["vocab"]["late"] = last + 50
    (path / "tokenizer.json").write_text(json.dumps(raw))
    mine = Tokenizer.from_folder(path)
    hole = last + 10
    assert len(mine) == last + 51
    assert [mine.text_of(token) for token in (hole, last + 50)] == ["", "late"]

    assert "".join(pieces(mine.detokenizer([]), [hole, last + 50, hole])) == "late"


def test_detokenizers_do_not_share_what_they_hold(models: Models) -> None:
    mine = Tokenizer.from_folder(models("llama3"))
    ids = mine.encode("🚀", add_special_tokens=False)
    first, second = mine.detokenizer([]), mine.detokenizer([])
    first.add_token(ids[0])

    assert "".join(pieces(second, mine.encode("plain", add_special_tokens=False))) == "plain"


def test_the_older_files_alone_make_the_same_tokenizer(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    path = tmp_path / "older"
    shutil.copytree(models("qwen2"), path)
    model = json.loads((path / "tokenizer.json").read_text())["model"]
    (path / "tokenizer.json").unlink()
    (path / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")

    mine = Tokenizer.from_folder(path)
    theirs = AutoTokenizer.from_pretrained(str(path))

    for text in TEXTS:
        assert mine.encode(text) == theirs.encode(text), text
    prompt = "The weather in Paris is"
    answer = worker.use(path).generate(prompt, max_tokens=12)
    assert answer == worker.use(models("qwen2")).generate(prompt, max_tokens=12)


def read_config(models: Models, family: str, folder: Path) -> dict[str, Any]:
    """Copy a family's tokenizer and config.json to a folder; return its tokenizer_config.json."""
    for name in ("tokenizer.json", "config.json"):
        shutil.copy(models(family) / name, folder)
    config: dict[str, Any] = json.loads((models(family) / "tokenizer_config.json").read_text())
    return config


def pieces(detokenizer: Detokenizer, ids: list[int]) -> list[str]:
    found = [detokenizer.add_token(token) for token in ids]
    return [*found, detokenizer.finalize()]


def streamed(tokenizer: Tokenizer, ids: list[int]) -> str:
    return "".join(pieces(tokenizer.detokenizer([]), ids))


def theirs_text(path: Path, ids: list[int]) -> str:
    text: str = reference(path).tokenizer.decode(ids)
    return text
