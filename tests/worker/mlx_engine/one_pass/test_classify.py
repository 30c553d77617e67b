"""Classification against a full forward pass in this process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.model_worker import Models, ModelWorker
from support.reference import Reference, reference

PROMPTS = [
    "The weather in Paris is",
    "Is 7 a prime number? Answer:",
    "你好 🚀",
]
LABELS = ["yes", " no", "perhaps, or not at all", "🚀"]


def items(
    worker: ModelWorker, _command: str = "classify", **fields: object
) -> tuple[list[dict[str, object]], object]:
    """Return the items in their prompts' order, and the final; they come in the worker's."""
    request = worker.send(_command, **fields)
    done = worker.final(request)
    found = [m for m in worker.messages[request] if m["type"] == "item"]
    return sorted(found, key=lambda item: item["index"]), done


def label_scores(truth: Reference, prompt: str) -> dict[str, float]:
    """Score each label's tokens, forced after the prompt, by one pass over everything."""
    ids = truth.encode(prompt)
    scores = {}
    for label in LABELS:
        tokens = truth.tokenizer.encode(label, add_special_tokens=False)
        rows = truth.logprobs(ids + tokens)
        scores[label] = sum(
            rows[len(ids) - 1 + place, token] for place, token in enumerate(tokens)
        )
    weights = {label: np.exp(score - max(scores.values())) for label, score in scores.items()}
    total = sum(weights.values())
    return {label: float(weight / total) for label, weight in weights.items()}


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "llama3"])
def test_rows_tokens_and_labels_are_those_of_a_full_forward_pass(
    worker: ModelWorker, models: Models, family: str
) -> None:
    path = models(family)
    truth = reference(path)

    found, done = items(worker.use(path), prompts=PROMPTS, logits=True, labels=LABELS)

    assert [item["index"] for item in found] == [0, 1, 2]
    assert any(
        len(truth.tokenizer.encode(label, add_special_tokens=False)) > 1 for label in LABELS
    )
    for item, prompt in zip(found, PROMPTS, strict=True):
        row = truth.logits(truth.encode(prompt))[-1]
        logprobs = truth.logprobs(truth.encode(prompt))[-1]
        np.testing.assert_allclose(item["logits"], row, atol=2e-4, rtol=1e-4)
        assert item["token_id"] == int(row.argmax())
        assert item["token"] == truth.tokenizer.decode([item["token_id"]])
        assert item["logprob"] == pytest.approx(logprobs.max(), abs=2e-4)
        expected = label_scores(truth, prompt)
        assert item["labels"] == pytest.approx(expected, abs=2e-4)
        assert sum(expected.values()) == pytest.approx(1)
    assert done["finish_reason"] == "stop"  # type: ignore[index]
    metrics = done["metrics"]  # type: ignore[index]
    assert metrics["prompt_tokens"] == sum(len(truth.encode(p)) for p in PROMPTS)
    assert metrics["generated_tokens"] == 0


def test_a_prompt_longer_than_a_prefill_chunk_is_scored_alike(
    worker: ModelWorker, models: Models
) -> None:
    truth = reference(models("qwen3"))
    prompt = "1 2 " * 150
    ids = truth.encode(prompt)
    assert len(ids) > 512

    found, _ = items(worker.use(models("qwen3")), prompts=[prompt], logits=True)

    np.testing.assert_allclose(found[0]["logits"], truth.logits(ids)[-1], atol=2e-4, rtol=1e-4)


def test_only_what_was_asked_is_sent(worker: ModelWorker, models: Models) -> None:
    found, _ = items(worker.use(models("qwen3")), prompts=["Hello"])

    assert set(found[0]) <= {
        "id",
        "type",
        "index",
        "token",
        "token_id",
        "logprob",
        "logits",
        "labels",
    }
    assert not found[0].get("logits")
    assert not found[0].get("labels")


def test_logits_of_a_padded_vocabulary_have_the_models_width(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen2"))
    found, _ = items(worker, prompts=["Hello"], logits=True)

    assert len(found[0]["logits"]) == worker.ask("info")["vocab_size"]  # type: ignore[arg-type]


def test_a_label_that_stands_twice_is_refused(worker: ModelWorker, models: Models) -> None:
    worker.use(models("qwen2"))
    error = worker.refusal("classify", prompts=["Hello"], labels=["yes", "no", "yes"])

    assert (error["code"], error["data"]["field"]) == ("invalid_params", "labels")
    assert "labels[2]" in error["message"]


def test_a_prompt_past_the_context_fails_alone(worker: ModelWorker, models: Models) -> None:
    worker.use(models("qwen3"), context_len=32)
    found, done = items(worker, prompts=["Hello", "long " * 40, "Bye"], labels=["yes", "no"])

    assert done["finish_reason"] == "stop"  # type: ignore[index]
    error = found[1]["error"]
    assert (error["code"], error["data"]["field"]) == ("context_overflow", "prompts[1]")  # type: ignore[index]
    assert error["data"]["context_len"] == 32  # type: ignore[index]
    alone, _ = items(worker, prompts=["Hello", "Bye"], labels=["yes", "no"])
    for item, other in zip((found[0], found[2]), alone, strict=True):
        assert item["token_id"] == other["token_id"]
        assert item["labels"] == pytest.approx(other["labels"], abs=1e-4)


def test_an_empty_prompt_fails_alone(worker: ModelWorker, models: Models) -> None:
    worker.use(models("qwen3"))
    found, done = items(worker, prompts=["", "Is it?", ""], labels=["yes", "no"], separator=" ")

    for place in (0, 2):
        error: Any = found[place]["error"]
        assert (error["code"], error["data"]) == (
            "invalid_params",
            {"field": f"prompts[{place}]"},
        )
    assert sum(found[1]["labels"].values()) == pytest.approx(1)  # type: ignore[attr-defined]
    assert done["finish_reason"] == "stop"  # type: ignore[index]


def test_prompts_that_all_fail_are_told_one_by_one(worker: ModelWorker, models: Models) -> None:
    worker.use(models("qwen3"), context_len=32)
    found, done = items(worker, prompts=["long " * 40, "longer " * 40])

    assert [item["error"]["code"] for item in found] == ["context_overflow"] * 2  # type: ignore[index]
    assert done["finish_reason"] == "stop"  # type: ignore[index]


def test_streams_go_on_between_the_prompts_of_a_classify(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen3"))
    alone = worker.generate("Hello", max_tokens=32)
    stream = worker.send("generate", prompt="Hello", max_tokens=32)
    request = worker.send("classify", prompts=["one two three"] * 50)
    worker.final(request)
    worker.final(stream)

    assert worker.text(stream) == alone[0]
