"""Sixty-four requests of every kind in one batch: each gets the tokens that it gets alone."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mlxwire_worker.prompts import Prompt
from support.direct import Direct
from worker.mlx_engine.conftest import Open

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
    "everyone",
]
BEGINNING = " ".join(WORDS * 4)

FAMILIES = [
    ("llama3", False, 64),
    ("qwen2", False, 20),
    ("qwen3", False, 24),
    ("deepseek-r1-qwen2", False, 16),
    ("gemma3", False, 28),
    ("qwen3", True, 16),
]


def text(dice: random.Random) -> str:
    """Return a prompt of one to some hundred tokens; every fourth shares a long beginning."""
    tail = " ".join(dice.choices(WORDS, k=dice.choice([1, 3, 10, 30])))
    return f"{BEGINNING} {tail}" if dice.random() < 0.25 else tail


def options(dice: random.Random, number: int) -> dict[str, Any]:
    """Draw any sampling; most requests ask for one or two things."""
    chosen: dict[str, Any] = {
        "max_tokens": dice.choice([1, 2, 5, 12, 25]),
        "seed": number,
        "temperature": dice.choice([0.0, 0.0, 0.7, 1.3]),
        "ignore_eos": dice.random() < 0.5,
        "cache": dice.random() < 0.8,
    }
    rare: list[dict[str, Any]] = [
        {"top_p": 0.8},
        {"top_k": 7},
        {"min_p": 0.05},
        {"xtc_probability": 0.5, "xtc_threshold": 0.02},
        {"repeat_penalty": 1.4},
        {"presence_penalty": 0.8, "penalty_window": 5},
        {"frequency_penalty": 0.6},
        {"logit_bias": {"300": 4.0, "17": -100.0}},
        {"min_tokens": 9, "stop_tokens": list(range(100, 300))},
        {"logprobs": True, "top_logprobs": dice.choice([0, 3, 8])},
    ]
    for extra in dice.sample(rare, k=dice.choice([0, 1, 2, 3])):
        chosen |= extra
    return chosen


def staggered(direct: Direct, prompts: list[Prompt], dice: random.Random) -> set[Prompt]:
    """Add them between steps, in any order, and cancel one in eight on its way."""
    cancelled = set(dice.sample(prompts, k=len(prompts) // 8))
    left = dice.sample(prompts, k=len(prompts))
    while left:
        for _ in range(dice.choice([0, 1, 1, 4, 9])):
            if left:
                direct.add(left.pop())
        direct.step()
        direct.cancel(p for p in cancelled if p in direct.answers and dice.random() < 0.3)
    direct.finish()
    return cancelled


@pytest.mark.parametrize(("family", "quantized", "count"), FAMILIES)
def test_company_changes_nobodys_tokens(
    open_model: Open, family: str, quantized: bool, count: int
) -> None:
    direct = open_model(family, quantized=quantized)
    dice = random.Random(f"{family} {quantized}")
    asked = [(text(dice), options(dice, number)) for number in range(count)]
    together = [direct.prepare(prompt, **chosen) for prompt, chosen in asked]

    cancelled = staggered(direct, together, dice)

    for prompt, (words, chosen) in zip(together, asked, strict=True):
        got = direct.answers[prompt]
        alone = direct.answer(words, **{**chosen, "cache": False})
        if prompt in cancelled:
            assert got.tokens == alone.tokens[: len(got.tokens)]
            continue
        assert got.tokens == alone.tokens, (words, chosen)
        assert got.ended == alone.ended
        if chosen.get("logprobs"):
            assert got.logprobs == pytest.approx(alone.logprobs, abs=2e-4)
            assert [top and [i for i, _ in top][:2] for top in got.tops] == [
                top and [i for i, _ in top][:2] for top in alone.tops
            ]


def test_the_trained_model_answers_sixteen_at_once_as_one_by_one(open_model: Open) -> None:
    direct = open_model("tiny")
    asked = [f"What is {number} + {97 - 3 * number}?" for number in range(16)]

    def prepared() -> list[Prompt]:
        return [
            direct.prepare_chat([{"role": "user", "content": words}], max_tokens=8)
            for words in asked
        ]

    together = [answer.tokens for answer in direct.run(prepared())]
    direct.forget()

    assert together == [direct.run([prompt])[0].tokens for prompt in prepared()]
    text_of = direct.loaded.tokenizer.decode
    assert [int(text_of(tokens)) for tokens in together] == [
        number + 97 - 3 * number for number in range(16)
    ]
