"""`classify` with a temperature draws each prompt's token from its row."""

from __future__ import annotations

import numpy as np
import pytest

from support.model_worker import Models, ModelWorker
from support.reference import reference

from .test_classify import PROMPTS, items

HOT = 50.0
"""A temperature at which nearly all tokens of a small model are equally likely."""


def ids(worker: ModelWorker, prompts: list[str], **options: object) -> list[object]:
    """Return the token id of each prompt."""
    return [item["token_id"] for item in items(worker, prompts=prompts, **options)[0]]


def test_without_a_temperature_the_other_options_change_nothing(loaded: ModelWorker) -> None:
    likeliest = ids(loaded, PROMPTS)

    assert ids(loaded, PROMPTS, temperature=0, top_k=3, top_p=0.5, seed=1) == likeliest


def test_the_tokens_of_a_seed_are_those_of_the_same_request_again(loaded: ModelWorker) -> None:
    one, again, other = (ids(loaded, PROMPTS * 8, temperature=HOT, seed=s) for s in (7, 7, 8))

    assert one == again
    assert one != other


def test_a_draw_depends_on_no_prompt_beside_it(loaded: ModelWorker) -> None:
    together = ids(loaded, PROMPTS, temperature=HOT, seed=3)

    assert together == [ids(loaded, [each], temperature=HOT, seed=3)[0] for each in PROMPTS]


def test_without_a_seed_equal_prompts_get_different_tokens(loaded: ModelWorker) -> None:
    assert len({*ids(loaded, PROMPTS[:1] * 16, temperature=HOT)}) > 1


@pytest.mark.parametrize("cut", [{"top_k": 4}, {"top_p": 0.2}, {"min_p": 0.5}], ids=str)
def test_only_tokens_that_the_cut_leaves_are_drawn(
    loaded: ModelWorker, models: Models, cut: dict[str, float]
) -> None:
    truth = reference(models("qwen3"))
    logprobs = truth.logprobs(truth.encode(PROMPTS[0]))[-1]
    order = np.argsort(-logprobs)
    probabilities = np.exp(logprobs[order])
    kept = {
        "top_k": order[:4],
        "top_p": order[np.cumsum(probabilities) - probabilities < 0.2],
        "min_p": order[probabilities >= 0.5 * probabilities[0]],
    }[next(iter(cut))]

    drawn = ids(loaded, PROMPTS[:1] * 24, temperature=HOT, **cut)

    assert {*drawn} <= {*kept.tolist()}
    assert len(kept) == 1 or len({*drawn}) > 1


def test_the_logprob_of_a_drawn_token_is_the_models_own(
    loaded: ModelWorker, models: Models
) -> None:
    truth = reference(models("qwen3"))
    found, _ = items(loaded, prompts=PROMPTS, temperature=HOT, seed=5)

    for item, prompt in zip(found, PROMPTS, strict=True):
        row = truth.logprobs(truth.encode(prompt))[-1]
        assert item["logprob"] == pytest.approx(row[item["token_id"]], abs=2e-4)
        assert item["token"] == truth.tokenizer.decode([item["token_id"]])


@pytest.mark.parametrize(
    ("field", "value"),
    [("top_k", 10**6), ("temperature", -1), ("seed", -1), ("max_tokens", 1), ("stop", "x")],
)
def test_an_option_that_classify_can_not_honour_is_refused(
    loaded: ModelWorker, field: str, value: object
) -> None:
    error = loaded.refusal("classify", prompts=["x"], **{field: value})

    assert (error["code"], error["data"]["field"]) == ("invalid_params", field)
