"""One row's trouble is its own: whatever raises in a step, the others' text is unchanged."""

from __future__ import annotations

import random
from typing import Any

import mlx.core as mx
import pytest

from mlxwire_worker.mlx_engine.adapters.row_model import RowModel
from mlxwire_worker.prompts import Prompt
from support.direct import Direct

GOOD = 15
TOKENS = 12


class Raises:
    """A processor that raises at some of its calls, and changes nothing at the others."""

    def __init__(self, *calls: int) -> None:
        self.calls = set(calls)
        self.seen = 0

    def __call__(self, generated: list[int], logits: mx.array) -> mx.array:
        self.seen += 1
        if self.seen in self.calls:
            raise ValueError(f"poison at call {self.seen}")
        return logits


class RaisesAtToken:
    """A processor that raises whenever its row is to draw that token."""

    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, generated: list[int], logits: mx.array) -> mx.array:
        if len(generated) >= self.token:
            raise ValueError("poison")
        return logits


def options(place: int) -> dict[str, Any]:
    dice = random.Random(place)
    return {
        "max_tokens": TOKENS + place % 5,
        "ignore_eos": True,
        "seed": place,
        "temperature": dice.choice([0.0, 0.8]),
        "frequency_penalty": dice.choice([0.0, 0.7]),
        "penalty_window": dice.choice([0, 4]),
    }


def good(direct: Direct) -> list[Prompt]:
    texts = ("word " * (1 + place * 3 % 11) + str(place) for place in range(GOOD))
    return [direct.prepare(text, **options(place)) for place, text in enumerate(texts)]


@pytest.fixture(scope="module")
def alone(llama: Direct) -> list[list[int]]:
    tokens = [llama.run([prompt])[0].tokens for prompt in good(llama)]
    llama.forget()
    return tokens


def start(llama: Direct, processor: object) -> tuple[list[Prompt], Prompt]:
    """Start sixteen prompts, one in the middle with a processor."""
    prompts = good(llama)
    culprit = llama.prepare("the culprit", max_tokens=TOKENS, ignore_eos=True)
    for prompt in [*prompts[:8], culprit, *prompts[8:]]:
        llama.add(prompt)
    llama.row(culprit).processor = processor  # type: ignore[assignment]
    return prompts, culprit


@pytest.mark.parametrize("token", [0, 1, 2, 11])
def test_a_row_that_raises_fails_alone_at_whichever_token(
    llama: Direct, alone: list[list[int]], token: int
) -> None:
    prompts, culprit = start(llama, RaisesAtToken(token))

    llama.finish()

    assert [llama.answers[prompt].tokens for prompt in prompts] == alone
    assert llama.answers[culprit].ended == "failed"
    assert str(llama.answers[culprit].error) == "poison"
    assert len(llama.answers[culprit].tokens) <= token


@pytest.mark.parametrize("calls", [(1,), (2,), (1, 8)])
def test_what_raises_once_is_computed_again_and_goes_on(
    llama: Direct, alone: list[list[int]], calls: tuple[int, ...]
) -> None:
    expected = llama.tokens("the culprit", max_tokens=TOKENS, ignore_eos=True)
    prompts, culprit = start(llama, Raises(*calls))

    llama.finish()

    assert [llama.answers[prompt].tokens for prompt in prompts] == alone
    assert llama.answers[culprit].tokens == expected
    assert llama.answers[culprit].ended == "length"


def test_two_culprits_fail_each_by_itself(llama: Direct, alone: list[list[int]]) -> None:
    prompts, first = start(llama, RaisesAtToken(4))
    second = llama.add(llama.prepare("another", max_tokens=TOKENS, ignore_eos=True))
    llama.row(second).processor = RaisesAtToken(0)

    llama.finish()

    assert [llama.answers[prompt].tokens for prompt in prompts] == alone
    assert [llama.answers[one].ended for one in (first, second)] == ["failed", "failed"]


def test_a_row_that_raises_with_nobody_beside_it_leaves_the_engine_usable(
    llama: Direct,
) -> None:
    expected = llama.tokens("after", max_tokens=5)
    for token in (0, 3):
        culprit = llama.add(llama.prepare("alone", max_tokens=9, ignore_eos=True))
        llama.row(culprit).processor = RaisesAtToken(token)
        llama.finish()
        assert llama.answers[culprit].ended == "failed"

    assert llama.tokens("after", max_tokens=5) == expected


def test_a_processor_sees_every_token_that_was_drawn_before(llama: Direct) -> None:
    seen: list[list[int]] = []

    def watch(generated: list[int], logits: mx.array) -> mx.array:
        seen.append(list(generated))
        return logits

    prompts = good(llama)[:3]
    for prompt in prompts:
        llama.add(prompt)
    llama.row(prompts[1]).processor = watch
    llama.finish()

    drawn = llama.answers[prompts[1]].tokens
    assert seen[: len(drawn)] == [drawn[:count] for count in range(len(drawn))]


class Fragile:
    """A model that raises in a forward pass over some token."""

    def __init__(self, model: Any, token: int) -> None:
        self._model = model
        self._token = token

    def __call__(self, ids: mx.array, cache: Any) -> mx.array:
        if self._token in ids.flatten().tolist():
            raise RuntimeError("this prompt breaks the model")
        return self._model(ids, cache=cache)


@pytest.mark.parametrize("length", [3, 900])
def test_a_prompt_that_breaks_its_prefill_fails_alone(
    llama: Direct, alone: list[list[int]], monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    unused = next(
        token
        for token in range(500, 0, -1)
        if all(token not in prompt.ids for prompt in good(llama))
        and all(token not in tokens for tokens in alone)
    )
    culprit = llama.prepare([5] * length + [unused] + [7] * 3, max_tokens=TOKENS)
    fragile = RowModel(Fragile(llama.loaded.model, unused))
    monkeypatch.setattr(llama.runner, "_model", fragile)
    monkeypatch.setattr(llama.runner._batch, "_model", fragile)
    prompts = good(llama)
    for prompt in [*prompts[:8], culprit, *prompts[8:]]:
        llama.add(prompt)

    llama.finish()

    assert [llama.answers[prompt].tokens for prompt in prompts] == alone
    assert str(llama.answers[culprit].error) == "this prompt breaks the model"


def test_a_prompt_whose_last_token_breaks_its_first_step_fails_alone(
    llama: Direct, alone: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = next(
        token
        for token in range(500, 0, -1)
        if all(token not in prompt.ids for prompt in good(llama))
        and all(token not in tokens for tokens in alone)
    )
    fragile = RowModel(Fragile(llama.loaded.model, unused))
    monkeypatch.setattr(llama.runner, "_model", fragile)
    monkeypatch.setattr(llama.runner._batch, "_model", fragile)
    prompts = good(llama)
    culprit = llama.prepare([5, 6, unused], max_tokens=TOKENS)
    for prompt in [*prompts[:3], culprit, *prompts[3:]]:
        llama.add(prompt)

    llama.finish()

    assert [llama.answers[prompt].tokens for prompt in prompts] == alone
    assert str(llama.answers[culprit].error) == "this prompt breaks the model"
