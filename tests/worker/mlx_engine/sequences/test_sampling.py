"""Drawn tokens, seen from outside: sets, frequencies, seeds and penalties, against oracles."""

from __future__ import annotations

from collections import Counter
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p

from support.model_worker import Models, ModelWorker
from support.reference import Reference, reference

PROMPT = "The weather in Paris is"
HOT = 100.0
"""A temperature that makes all that is left of the vocabulary about equally likely."""


@pytest.fixture
def loaded(worker: ModelWorker, models: Models) -> ModelWorker:
    return worker.use(models("qwen3"))


@pytest.fixture
def truth(models: Models) -> Reference:
    return reference(models("qwen3"))


def draws(worker: ModelWorker, count: int, **options: Any) -> Counter[int]:
    """Return the first tokens of ``count`` answers, each with a seed of its own."""
    ids = [
        worker.send(
            "generate", prompt=PROMPT, max_tokens=1, seed=seed, ignore_eos=True, **options
        )
        for seed in range(count)
    ]
    seen: Counter[int] = Counter()
    for request_id in ids:
        worker.final(request_id)
        tokens = [m for m in worker.messages.pop(request_id) if m["type"] == "token"]
        seen[tokens[0]["token_id"]] += 1
    return seen


def first_logprobs(truth: Reference) -> mx.array:
    return mx.array(truth.logprobs(truth.encode(PROMPT))[-1:].astype(np.float32))


def kept(logprobs: mx.array) -> set[int]:
    return {int(index) for index in np.flatnonzero(np.isfinite(np.array(logprobs[0])))}


def test_top_k_of_one_is_greedy_at_any_temperature(loaded: ModelWorker) -> None:
    greedy = loaded.generate(PROMPT, max_tokens=32)

    assert loaded.generate(PROMPT, max_tokens=32, temperature=HOT, top_k=1, seed=1) == greedy
    assert loaded.generate(PROMPT, max_tokens=32, temperature=1, top_p=1e-9) == greedy
    assert loaded.generate(PROMPT, max_tokens=32, temperature=1, min_p=1.0) == greedy


@pytest.mark.parametrize(
    ("options", "cut"),
    [
        ({"top_k": 7}, lambda lp: apply_top_k(lp, 7)),
        ({"top_p": 0.35}, lambda lp: apply_top_p(lp, 0.35)),
        ({"top_p": 0.05}, lambda lp: apply_top_p(lp, 0.05)),
        ({"min_p": 0.3}, lambda lp: apply_min_p(lp, 0.3)),
        ({"top_p": 0.5, "top_k": 3}, lambda lp: apply_top_k(apply_top_p(lp, 0.5), 3)),
        ({"min_p": 0.2, "top_k": 4}, lambda lp: apply_top_k(apply_min_p(lp, 0.2), 4)),
        ({"top_p": 0.3, "min_p": 0.2}, lambda lp: apply_min_p(apply_top_p(lp, 0.3), 0.2)),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "kept",
)
def test_what_is_drawn_from_is_exactly_what_mlx_lm_keeps(
    loaded: ModelWorker, truth: Reference, options: dict[str, float], cut: Any
) -> None:
    expected = kept(cut(first_logprobs(truth)))
    assert 1 <= len(expected) <= 20

    # Each of n about equally likely tokens is missed by 20 n draws once in 10^8 times.
    seen = draws(loaded, 20 * len(expected), temperature=HOT, **options)

    assert set(seen) == expected


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_p": 0}, {"top_p": 1}, {"min_p": 0}])
def test_zero_and_one_cut_nothing_off(loaded: ModelWorker, options: dict[str, float]) -> None:
    plain = loaded.generate(PROMPT, max_tokens=16, temperature=1.3, seed=5)

    assert loaded.generate(PROMPT, max_tokens=16, temperature=1.3, seed=5, **options) == plain


def test_a_repeat_penalty_of_zero_or_one_is_off(loaded: ModelWorker) -> None:
    plain = loaded.generate(PROMPT, max_tokens=16)

    for penalty in (0, 1):
        assert loaded.generate(PROMPT, max_tokens=16, repeat_penalty=penalty) == plain


@pytest.mark.parametrize("temperature", [0.6, 1.8])
def test_tokens_come_as_often_as_the_temperature_says(
    loaded: ModelWorker, truth: Reference, temperature: float
) -> None:
    count = 300
    scaled = truth.logits(truth.encode(PROMPT))[-1] / temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()

    seen = draws(loaded, count, temperature=temperature)

    for token in np.argsort(-probabilities)[:8]:
        expected = probabilities[token] * count
        spread = 5 * np.sqrt(expected * (1 - probabilities[token])) + 1
        assert abs(seen[int(token)] - expected) < spread


def test_a_temperature_near_zero_is_greedy(loaded: ModelWorker) -> None:
    greedy = loaded.generate(PROMPT, max_tokens=16)

    for temperature in (0, 1e-9, 1e-300):
        assert loaded.generate(PROMPT, max_tokens=16, temperature=temperature) == greedy


def test_the_same_seed_gives_the_same_tokens_whatever_ran_before(
    loaded: ModelWorker,
) -> None:
    options: dict[str, Any] = {"max_tokens": 24, "temperature": 1.0, "top_p": 0.9}
    first = loaded.generate(PROMPT, seed=7, **options)
    loaded.generate("Something else", temperature=0.8, max_tokens=5)

    assert loaded.generate(PROMPT, seed=7, **options) == first
    assert loaded.generate(PROMPT, seed=8, **options) != first
    big = loaded.generate(PROMPT, seed=2**53 - 1, **options)
    assert loaded.generate(PROMPT, seed=2**53 - 1, **options) == big


def test_a_seeded_answer_is_the_same_among_others(loaded: ModelWorker) -> None:
    options: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 24, "temperature": 1.0}
    alone = loaded.generate(seed=3, **options)
    before = loaded.send("generate", **options)
    among = loaded.send("generate", seed=3, **options)
    after = loaded.send("generate", **options)
    for request_id in (before, among, after):
        loaded.final(request_id)

    assert loaded.text(among) == alone[0]


def test_without_a_seed_answers_differ(loaded: ModelWorker) -> None:
    texts = {loaded.generate(PROMPT, max_tokens=24, temperature=1.0)[0] for _ in range(3)}

    assert len(texts) == 3


@pytest.mark.parametrize("penalty", [0.5, 1.3, 4.0])
def test_the_repeat_penalty_is_over_the_generated_tokens_alone(
    loaded: ModelWorker, truth: Reference, penalty: float
) -> None:
    ids = truth.encode(PROMPT)
    expected: list[int] = []
    for _ in range(32):
        row = truth.logits(ids + expected)[-1]
        for token in set(expected):
            row[token] = row[token] / penalty if row[token] > 0 else row[token] * penalty
        expected.append(int(row.argmax()))

    _, generated = loaded.generate(
        PROMPT, max_tokens=32, repeat_penalty=penalty, ignore_eos=True
    )

    assert generated == expected
