"""A prompt that meets NaN after the load ends with an error; the prompts beside it go on.

One embedding is NaN, which the few tokens at load do not meet; so all logits after it are NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from tokenizers import Tokenizer

from factories import build_model
from mlxwire_protocol import WireError
from support.direct import Direct
from support.model_worker import ModelWorker

WORD = "Z"
OPTIONS: dict[str, Any] = {"max_tokens": 6, "ignore_eos": True}
GOOD = ("Once upon a time", "The capital of France is", "Hi")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = build_model(
        "llama3", tmp_path_factory.mktemp("nan"), config={"tie_word_embeddings": False}
    )
    tokenizer: Any = Tokenizer.from_file(str(path / "tokenizer.json"))
    token = tokenizer.encode(WORD, add_special_tokens=False).ids[-1]
    file = str(path / "model.safetensors")
    weights = mx.load(file)
    assert isinstance(weights, dict)
    weights["model.embed_tokens.weight"][token] = mx.nan
    assert "lm_head.weight" in weights
    mx.eval(weights)
    mx.save_safetensors(file, weights)
    return path


@pytest.fixture(scope="module")
def damaged(folder: Path) -> Iterator[Direct]:
    direct = Direct(folder)
    yield direct
    direct.close()


SAMPLINGS: list[dict[str, Any]] = [
    {},
    {"logprobs": True, "top_logprobs": 3},
    {"temperature": 0.8, "seed": 1},
    {"temperature": 0.8, "top_p": 0.9, "seed": 1},
    {"temperature": 0.8, "top_k": 5, "min_p": 0.1, "seed": 1},
    {"temperature": 0.8, "xtc_probability": 1.0, "xtc_threshold": 0.1, "seed": 1},
    {"repeat_penalty": 1.2},
]


def assert_told(error: object) -> None:
    assert isinstance(error, WireError)
    assert error.code == "model_load_failed"
    assert error.data == {"reason": "damaged_weights"}


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("prompt", [WORD, "a word " + WORD, WORD + " and a word after it"])
def test_nan_is_an_error_however_tokens_are_chosen(
    damaged: Direct, prompt: str, sampling: dict[str, Any]
) -> None:
    answer = damaged.answer(prompt, **OPTIONS, **sampling)

    assert_told(answer.error)
    assert answer.tokens == []


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_neighbours_answer_as_alone(damaged: Direct, sampling: dict[str, Any]) -> None:
    alone = [damaged.tokens(text, **OPTIONS, **sampling) for text in GOOD]
    damaged.forget()

    texts = [GOOD[0], "a word " + WORD, *GOOD[1:]]
    greedy = damaged.prepare(WORD, **OPTIONS)
    first, bad, *others, other_bad = damaged.run(
        [*(damaged.prepare(text, **OPTIONS, **sampling) for text in texts), greedy]
    )

    assert [first.tokens, *(answer.tokens for answer in others)] == alone
    assert_told(bad.error)
    assert_told(other_bad.error)


def test_caches_that_met_it_are_not_kept(damaged: Direct) -> None:
    damaged.forget()
    beginning = WORD + " word" * 40
    pair = [damaged.prepare(beginning + end, **OPTIONS) for end in (" one", " two")]

    for answer in damaged.run(pair):  # the second waits for the first one's cache
        assert_told(answer.error)

    assert not damaged.loaded.cache.held_by(pair[0].ids)


def test_a_first_token_that_the_model_chose_is_an_answer(damaged: Direct) -> None:
    answer = damaged.answer(GOOD[0], **OPTIONS, logit_bias={"0": 100.0})

    assert answer.error is None
    assert answer.tokens == [0] * OPTIONS["max_tokens"]


def test_commands_tell_it(worker: ModelWorker, folder: Path) -> None:
    worker.use(folder)
    refusals = [
        worker.refusal("generate", prompt=WORD, **OPTIONS),
        worker.refusal("classify", prompts=["a word " + WORD]),
        worker.refusal("classify", prompts=["a word"], labels=[WORD + WORD, " no"]),
        worker.refusal("score", texts=["a word", f"a {WORD} word"]),
    ]

    for error in refusals:
        assert (error["code"], error["data"]) == (
            "model_load_failed",
            {"reason": "damaged_weights"},
        )
