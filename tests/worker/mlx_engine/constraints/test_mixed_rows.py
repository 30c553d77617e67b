"""Rows with forms share a batch with plain rows, whose texts do not change by a byte."""

from __future__ import annotations

from typing import Any

import pytest

from support.conversation import Message
from support.model_worker import ModelWorker
from support.tiny_model import TINY

FORMS: list[dict[str, Any]] = [
    {"type": "json_object"},
    {"type": "regex", "regex": "[a-z]{2,9}( [a-z]{2,9})*"},
    {"type": "grammar", "grammar": 'start: ("yes" | "no" | "maybe") (", " /[a-z]+/)*'},
    {
        "type": "json_schema",
        "json_schema": {"schema": {"type": "array", "items": {"type": "integer"}}},
    },
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.9, "seed": 4},
    {"logprobs": True, "top_logprobs": 3},
    {"repeat_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": 0.2},
    {"stop": ["e", "the"], "min_tokens": 6},
    {"logit_bias": {"5": 4, "40": -50}, "temperature": 0.7, "seed": 9},
    {"top_k": 5, "top_p": 0.9, "min_p": 0.02, "temperature": 1.2, "seed": 3},
    {"stop_tokens": [11, 12], "max_tokens": 25},
]
PROMPTS = ("What is 2 and 3?", "Tell me a story about a cat.", "Hello")


def plain(place: int) -> dict[str, Any]:
    options = OPTIONS[place % len(OPTIONS)]
    return {
        "prompt": PROMPTS[place % 3],
        "max_tokens": 12 + place % 19,
        "cache": False,
        **options,
    }


def answers(worker: ModelWorker, requests: list[str]) -> list[list[Message]]:
    for request in requests:
        worker.final(request)
    kept = ("type", "token", "token_id", "finish_reason", "tokens_generated", "error")
    return [
        [
            {name: m[name] for name in kept if name in m}
            for m in worker.messages[request]
            if m["type"] != "progress"
        ]
        for request in requests
    ]


@pytest.fixture
def tiny(worker: ModelWorker) -> ModelWorker:
    return worker.use(TINY, prefill_seconds=60)  # slices, and so rounding, depend on no clock


def test_plain_rows_of_64_mixed_rows_answer_as_without_forms(tiny: ModelWorker) -> None:
    def ask(*, formed: bool) -> list[list[Message]]:
        requests, others = [], []
        for place in range(32):
            requests.append(tiny.send("generate", **plain(place)))
            other = {
                **plain(place + 3),
                **({"temperature": 1.0, "seed": place} if formed else {}),
            }
            if formed:
                other["response_format"] = FORMS[place % len(FORMS)]
            others.append(tiny.send("generate", **other))
        found = answers(tiny, requests)
        ended = answers(tiny, others)
        assert all(messages[-1]["type"] == "done" for messages in ended), ended
        return found

    assert ask(formed=True) == ask(formed=False)


@pytest.mark.parametrize("options", OPTIONS[:4] + OPTIONS[5:7])
@pytest.mark.parametrize("form", FORMS[:2])
def test_a_form_holds_beside_every_option(
    tiny: ModelWorker, form: dict[str, Any], options: dict[str, Any]
) -> None:
    request = tiny.send(
        "generate", prompt="x", max_tokens=40, response_format=form, window=5, **options
    )
    seen = 0
    while not tiny.messages[request] or not tiny.messages[request][-1].get("final"):
        if tiny.receive()["id"] == request:
            seen += 1
            tiny.send("credit", target=request, n=1)
    done = tiny.messages[request][-1]
    text = "".join(m["token"] for m in tiny.messages[request] if m["type"] == "token")

    assert done["type"] == "done"
    assert done["complete"] or done["finish_reason"] == "length"
    assert text[0] == "{" if form is FORMS[0] else text[0].islower()
