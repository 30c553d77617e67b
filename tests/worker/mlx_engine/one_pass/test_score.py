"""`score` against mlx-lm's own forward pass, in this process."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from msgspec import structs

from mlxwire_worker.mlx_engine.one_pass import groups, token_scores
from mlxwire_worker.mlx_engine.sequences.prefill import ChunkSize
from mlxwire_worker.operations.texts.score import _perplexity
from mlxwire_worker.passes import Scored
from support.direct import Direct
from support.model_worker import Models, ModelWorker
from support.reference import Reference, reference
from worker.mlx_engine.conftest import Open

from .test_classify import items
from .test_classify_slices import check_no_growth

TEXTS = [
    "The weather in Paris is fine.",
    "The weather in Paris is",
    "你好 🚀",
    "Is 7 a prime number? " * 8,
    "The weather in London is not.",
]


def logprobs_of(truth: Reference, ids: list[int]) -> list[float]:
    """Return the log-probability of each token but the first by one pass."""
    rows = truth.logprobs(ids)
    return [float(rows[place, token]) for place, token in enumerate(ids[1:])]


def score(direct: Direct, texts: list[Any], adapter: str | None = None) -> list[list[float]]:
    """Score texts in one request."""
    prepared = direct.engine.score_texts(texts, adapter)
    found: dict[int, Scored] = {}
    while prepared.unfinished:
        found.update(direct.engine.score(prepared))
    return [found[place].logprobs for place in range(len(texts))]


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "llama3"])
def test_log_probabilities_are_those_of_one_pass_over_each_text(
    worker: ModelWorker, models: Models, family: str
) -> None:
    truth = reference(models(family))
    found, done = items(worker.use(models(family)), _command="score", texts=TEXTS)

    for item, text in zip(found, TEXTS, strict=True):
        ids = truth.encode(text)
        expected = logprobs_of(truth, ids)
        assert item["token_ids"] == ids
        assert len(item["pieces"]) == len(ids)  # type: ignore[arg-type]
        assert item["logprobs"][0] is None  # type: ignore[index]
        np.testing.assert_allclose(item["logprobs"][1:], expected, atol=2e-3)  # type: ignore[index]
        loss = -sum(expected) / len(expected)
        assert item["perplexity"] == pytest.approx(math.exp(loss), rel=1e-3)
    metrics = done["metrics"]  # type: ignore[index]
    assert metrics["prompt_tokens"] == sum(len(truth.encode(text)) for text in TEXTS)
    assert done["finish_reason"] == "stop"  # type: ignore[index]


def test_ids_are_taken_as_they_are_and_one_token_has_no_score(
    worker: ModelWorker, models: Models
) -> None:
    truth = reference(models("llama3"))
    worker.use(models("llama3"))
    ids = truth.encode("The weather")
    found, _ = items(worker, _command="score", texts=[ids, ids[1:], ids[:1], "The weather"])

    assert [item["token_ids"] for item in found] == [ids, ids[1:], ids[:1], ids]
    assert found[0]["logprobs"] == pytest.approx(found[3]["logprobs"], abs=2e-3)
    assert found[0]["logprobs"][2:] != pytest.approx(found[1]["logprobs"][1:], abs=2e-3)  # type: ignore[index]
    assert (found[2]["logprobs"], found[2]["perplexity"]) == ([None], None)


def test_texts_of_one_token_alone_end_the_request(worker: ModelWorker, models: Models) -> None:
    found, done = items(worker.use(models("qwen3")), _command="score", texts=[[1], [2]])

    assert [item["logprobs"] for item in found] == [[None], [None]]
    assert done["finish_reason"] == "stop"  # type: ignore[index]


def test_a_text_may_fill_the_context_and_a_longer_one_fails_alone(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen3"), context_len=16)
    found, done = items(worker, _command="score", texts=[[1] * 16, [1] * 17, "long " * 40])

    assert len(found[0]["logprobs"]) == 16  # type: ignore[arg-type]
    for place in (1, 2):
        error: Any = found[place]["error"]
        assert (error["code"], error["data"]["field"]) == (
            "context_overflow",
            f"texts[{place}]",
        )
        assert "answer" not in error["message"]
    assert done["finish_reason"] == "stop"  # type: ignore[index]


def test_an_empty_text_fails_alone(worker: ModelWorker, models: Models) -> None:
    worker.use(models("qwen3"))
    found, done = items(worker, _command="score", texts=["", "a text", [], ""])

    for place in (0, 2, 3):
        error: Any = found[place]["error"]
        assert (error["code"], error["data"]) == (
            "invalid_params",
            {"field": f"texts[{place}]"},
        )
    assert found[1]["perplexity"] is not None
    assert done["finish_reason"] == "stop"  # type: ignore[index]


def test_an_id_past_the_vocabulary_is_refused_by_name(loaded: ModelWorker) -> None:
    vocabulary = loaded.ask("info")["vocab_size"]
    error = loaded.refusal("score", texts=["x", [1, vocabulary]])

    assert (error["code"], error["data"]["field"]) == ("invalid_params", "texts[1][1]")


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "llama3"])
@pytest.mark.parametrize("most", [1, 64, 2048])
def test_scores_are_the_same_however_the_work_is_cut(
    open_model: Open, family: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = open_model(family)
    whole = [score(direct, [text])[0] for text in TEXTS]
    vocabulary = direct.info.vocab_size
    monkeypatch.setattr(token_scores, "LOGITS_BYTES", most * 4 * vocabulary)
    monkeypatch.setattr(groups, "CPU_PADDING_TOKENS", 2048)  # as on a GPU
    monkeypatch.setattr(ChunkSize, "learn", lambda *_: None)
    for tokens in (1, 7, 2048):
        direct.loaded.chunk.tokens = tokens
        for own, alone in zip(score(direct, TEXTS), whole, strict=True):
            assert own == pytest.approx(alone, abs=2e-3)


@pytest.mark.parametrize("together", [True, False])
def test_a_model_that_takes_no_padding_gives_the_same(open_model: Open, together: bool) -> None:
    direct = open_model("llama3")
    texts = [*TEXTS, TEXTS[1], TEXTS[0]]
    expected = score(direct, texts)
    policy = direct.loaded.policy
    policy.verdict = structs.replace(policy.verdict, together=together, padded=False)
    for own, other in zip(score(direct, texts), expected, strict=True):
        assert own == pytest.approx(other, abs=2e-3)


def test_no_slice_has_the_logits_of_a_long_text(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = open_model("qwen3")
    vocabulary = direct.info.vocab_size
    monkeypatch.setattr(token_scores, "LOGITS_BYTES", 8 * 4 * vocabulary)
    widths: list[int] = []
    row_model = type(direct.loaded.row_model)
    compute = row_model.__call__

    def watched(self: Any, ids: mx.array, *rest: Any) -> Any:
        widths.append(ids.size)
        return compute(self, ids, *rest)

    monkeypatch.setattr(row_model, "__call__", watched)
    score(direct, ["one two three " * 40, "four " * 50])

    assert max(widths) <= 9


def test_a_perplexity_that_no_number_holds_is_none() -> None:
    assert _perplexity([-math.inf, -1.0]) is None
    assert _perplexity([]) is None
    assert _perplexity([-1000.0]) is None


def test_work_that_is_done_or_dropped_leaves_nothing_to_the_collector(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = open_model("qwen3")
    monkeypatch.setattr(ChunkSize, "learn", lambda *_: None)
    direct.loaded.chunk.tokens = 16

    def work() -> None:
        score(direct, ["one two three", "four"])
        dropped = direct.engine.score_texts(["one " * 40], None)
        direct.engine.score(dropped)

    check_no_growth(work)
