"""The newer options and commands go on the wire, and their answers become results."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import mlxwire
from mlxwire.options import set_fields

CACHE = {
    "entries": 2,
    "cached_bytes": 10,
    "limit_bytes": 20,
    "hits": 1,
    "misses": 1,
    "reused_tokens": 4,
    "evictions": 0,
    "rejected": 0,
    "affected": 3,
}


def test_options_are_made_plain():
    assert set_fields(logit_bias={5: -1.5, "7": 2}, path=Path("p"), stop=("a",), seed=None) == {
        "logit_bias": {"5": -1.5, "7": 2},
        "path": "p",
        "stop": ["a"],
    }


async def test_sampling_options_go_out_as_they_were_given(memory):
    worker = await memory()
    options = {
        "min_tokens": 2,
        "xtc_probability": 0.5,
        "xtc_threshold": 0.2,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
        "penalty_window": 16,
        "logprobs": True,
        "top_logprobs": 2,
        "cache": False,
        "deadline_seconds": 3.5,
    }
    collecting = asyncio.create_task(worker.model.generate("p", timeout=60, **options).text())
    request = await worker.process.request("generate")
    assert {name: request[name] for name in options} == options
    assert "timeout" not in request
    worker.error(request["id"], "deadline_exceeded")
    with pytest.raises(mlxwire.DeadlineExceeded):
        await collecting


async def test_a_token_may_come_with_the_likeliest(memory):
    worker = await memory()
    async with worker.model.generate("p", logprobs=True, top_logprobs=2) as stream:
        request = await worker.process.request("generate")
        top = [
            {"token": "x", "token_id": 7, "logprob": -0.5},
            {"token": "y", "token_id": 8, "logprob": None},
        ]
        worker.reply(
            request["id"],
            type="token",
            seq=0,
            token="x",
            token_id=7,
            logprob=-0.5,
            top_logprobs=top,
        )
        worker.done(request["id"])
        token = await anext(stream)
    assert token.logprob == -0.5
    assert token.top_logprobs == [
        mlxwire.TopLogprob(text="x", id=7, logprob=-0.5),
        mlxwire.TopLogprob(text="y", id=8, logprob=None),
    ]


@pytest.mark.parametrize(
    ("ask", "fields"),
    [
        (lambda cache: cache.stats(), {"action": "stats"}),
        (lambda cache: cache.clear(), {"action": "clear"}),
        (lambda cache: cache.warm("p"), {"action": "warm", "prompt": "p"}),
        (
            lambda cache: cache.warm(messages="hi"),
            {"action": "warm", "messages": [{"role": "user", "content": "hi"}]},
        ),
        (lambda cache: cache.save(Path("f")), {"action": "save", "path": "f"}),
        (lambda cache: cache.load("f"), {"action": "load", "path": "f"}),
    ],
)
async def test_each_call_of_the_prompt_cache_sends_its_action(memory, ask, fields):
    worker = await memory()
    asking = asyncio.create_task(ask(worker.model.cache))
    request = await worker.process.request("cache")
    worker.reply(request["id"], type="result", final=True, **CACHE)
    assert request == {"id": request["id"], "cmd": "cache", **fields}
    result = await asking
    assert (result.entries, result.affected) == (2, 3)


async def test_the_cache_of_a_model_that_is_gone_says_so(memory):
    worker = await memory()
    await worker.model.close()
    with pytest.raises(mlxwire.ModelNotLoaded):
        await worker.model.cache.stats()


async def test_a_heartbeat_is_an_event_with_fields(memory):
    events = []
    worker = await memory(on_event=events.append)
    beat = {"phase": "decode", "steps": 4, "last_step_seconds": 0.5, "in_flight": 1}
    worker.reply(None, type="event", event="heartbeat", data=beat, steps="later")
    worker.reply(None, type="event", event="eclipse", data=beat)
    typed, other = events
    assert isinstance(typed, mlxwire.Heartbeat)
    assert (typed.phase, typed.steps, typed.last_step_seconds) == ("decode", 4, 0.5)
    assert (typed.in_flight, typed.queued, typed.data) == (1, 0, beat)
    assert type(other) is mlxwire.Event
    assert other.event == "eclipse"


async def test_logits_are_asked_for_where_they_are_wanted_alone(memory):
    worker = await memory()
    for options, sent in (({}, None), ({"logits": False}, None), ({"logits": True}, True)):
        asking = asyncio.create_task(worker.model.classify(["p"], **options))
        request = await worker.process.request("classify")
        assert request.get("logits") is sent
        assert ("logits" in request) is bool(sent)
        worker.done(request["id"])
        await asking
