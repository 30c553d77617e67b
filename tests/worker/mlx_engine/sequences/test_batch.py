"""Requests beside each other: each gets the answer that it would get alone."""

from __future__ import annotations

import random

import pytest

from support.model_worker import Models, ModelWorker

WORDS = [
    "the",
    "weather",
    "in",
    "Paris",
    "is",
    "fine",
    "and",
    "23",
    "degrees,",
    "says",
    "Grüße",
    "🚀",
    "to",
    "你好",
]


def prompts(dice: random.Random, count: int) -> list[str]:
    """Return prompts of many lengths; some begin alike."""
    made = [" ".join(dice.choices(WORDS, k=dice.randrange(1, 60))) for _ in range(count)]
    return [*made, *(f"{prompt} and then" for prompt in made[: count // 3])]


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "llama3"])
def test_answers_are_the_same_alone_and_in_company(
    worker: ModelWorker, models: Models, family: str
) -> None:
    worker.use(models(family))
    dice = random.Random(family)
    asked = [
        {
            "prompt": prompt,
            "max_tokens": dice.randrange(1, 40),
            "temperature": dice.choice([0, 0, 0.9]),
            "top_p": dice.choice([1, 0.8]),
            "repeat_penalty": dice.choice([1, 1, 1.3]),
            "seed": number,
        }
        for number, prompt in enumerate(prompts(dice, 9))
    ]
    alone = [worker.generate(**options) for options in asked]  # type: ignore[arg-type]

    ids = [worker.send("generate", **options) for options in asked]
    spoilt = [worker.send("generate", prompt="cancel me", max_tokens=500) for _ in range(3)]
    for request_id in spoilt:
        worker.send("cancel", target=request_id)
    for request_id in [*ids, *spoilt]:
        worker.final(request_id)

    assert [worker._answer(request_id) for request_id in ids] == alone


def test_a_request_that_can_not_be_computed_does_not_touch_its_neighbours(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen3"))
    alone = worker.generate("The weather", max_tokens=30)
    neighbour = worker.send("generate", prompt="The weather", max_tokens=30)
    refused = [
        worker.send("generate", prompt="x", top_k=10**9),
        worker.send("generate", prompt="x", stop_tokens=[10**6]),
        worker.send("generate", prompt="word " * 9000),
    ]

    for request_id in refused:
        assert worker.final(request_id)["type"] == "error"
    assert worker._answer(neighbour) == alone
