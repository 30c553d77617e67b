"""An ended request is freed at once: without a garbage collection, whatever waits or runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.prompts import Prompt, SamplingParams
from mlxwire_worker.requests.job import Job
from support.conversation import ENDLESS
from support.gated_engine import GatedEngine
from support.memory_host import Connect

MANY = 40
FEW = 8
"""Jobs that a thread may still hold in a variable, and those that a test keeps running."""


@pytest.fixture
def jobs_before() -> Iterator[int]:
    """The number of jobs that other tests left; no garbage is collected from here on."""
    gc.collect()
    gc.disable()
    yield count_jobs()
    gc.enable()


def count_jobs() -> int:
    return sum(isinstance(each, Job) for each in gc.get_objects())


@pytest.mark.parametrize(
    "request_",
    [
        {"cmd": "generate", "prompt": "a b"},
        {"cmd": "generate", "prompt": "a b", "deadline_seconds": 1000},
        {"cmd": "generate", "prompt": "too long"},
        {"cmd": "chat", "messages": [{"role": "user", "content": "a"}], "window": 9},
        {"cmd": "batch", "prompts": ["a b", "c"]},
        {"cmd": "batch", "prompts": ["a b", "too long"]},
        {"cmd": "classify", "prompts": ["a", "b"], "deadline_seconds": 1000},
        {"cmd": "tokenize", "text": "a b"},
        {"cmd": "detokenize", "ids": [10**6]},
        {"cmd": "cache", "action": "warm", "prompt": "a b"},
        {"cmd": "memory"},
        {"cmd": "load", "path": "other"},
        {"cmd": "load", "path": "broken"},
        {"cmd": "info"},
        {"cmd": "cancel"},
    ],
    ids=lambda fields: "-".join([fields["cmd"], *list(fields)[2:]]),
)
def test_a_request_that_has_ended_is_freed(
    connect: Connect,
    engine: GatedEngine,
    monkeypatch: pytest.MonkeyPatch,
    jobs_before: int,
    request_: dict[str, Any],
) -> None:
    text_prompt = engine.text_prompt

    def bounded(text: str, params: SamplingParams, *, field: str) -> Prompt:
        if text == "too long":
            raise WireError("context_overflow", "too long; shorten it")
        return text_prompt(text, params, field=field)

    monkeypatch.setattr(engine, "text_prompt", bounded)
    host = connect()
    engine.open()
    for _ in range(MANY):
        host.ask(**request_)
    host.ask("generate", prompt="the threads have gone on")

    assert count_jobs() - jobs_before < FEW


@pytest.mark.parametrize(
    "first", [{"cmd": "generate", "prompt": "a"}, {"cmd": "load", "path": "other"}]
)
def test_a_request_that_was_cancelled_in_a_queue_is_freed_while_the_queue_stands(
    connect: Connect, engine: GatedEngine, jobs_before: int, first: dict[str, Any]
) -> None:
    host = connect(slots=1)
    engine.open()
    running = host.send("generate", **ENDLESS)
    host.first_token(running)
    waiting = host.send(**first)
    for _ in range(MANY):
        behind = host.send("generate", prompt="a b")
        host.ask("cancel", target=behind)
        host.final(behind)

    assert count_jobs() - jobs_before < FEW
    assert not host.finals(waiting)
    host.ask("cancel")
    assert host.final(waiting)["finish_reason"] == "cancelled"
    assert host.ask("generate", prompt="a b")["tokens_generated"] == 2
