"""Ended requests hold no slot, no step and no model: the next request shows it."""

from __future__ import annotations

from typing import Any

import pytest

from support.conversation import ENDLESS
from support.gated_engine import GatedEngine
from support.memory_host import Connect, MemoryHost
from support.skipping_clock import SkippingClock


def is_served(host: MemoryHost) -> bool:
    """Return True if a request that needs a slot comes to its end."""
    return bool(host.ask("generate", prompt="a b")["tokens_generated"] == 2)


def test_a_request_that_was_cancelled_in_the_queue_never_takes_the_slot(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=1)
    first = host.send("generate", prompt="a b c")
    engine.wait_at_gate()
    waiting = host.send("generate", **ENDLESS)
    host.ask("cancel", target=waiting)
    engine.open()

    assert host.final(waiting)["stage"] == "queued"
    assert host.final(first)["finish_reason"] == "stop"
    assert is_served(host)


def test_a_cancelled_load_lets_those_behind_it_pass_what_still_runs(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=2)
    engine.open()
    running = host.send("generate", **ENDLESS)
    host.first_token(running)
    load = host.send("load", path="other")
    behind = host.send("generate", prompt="a b")
    host.ask("cancel", target=load)

    assert host.final(load)["stage"] == "queued"
    assert host.final(behind)["tokens_generated"] == 2
    assert not host.finals(running)


def test_a_cancelled_unload_leaves_the_model(connect: Connect, engine: GatedEngine) -> None:
    host = connect()
    running = host.send("generate", prompt="a b c")
    engine.wait_at_gate()
    unload = host.send("unload")
    host.ask("cancel", target=unload)
    engine.open()

    assert host.final(unload)["finish_reason"] == "cancelled"
    assert host.final(running)["finish_reason"] == "stop"
    assert is_served(host)


def test_an_expired_request_gives_its_slot_back(connect: Connect, engine: GatedEngine) -> None:
    host = connect(slots=1)
    engine.open()
    late = host.send("generate", **ENDLESS, deadline_seconds=0.2)

    assert host.final(late)["error"]["code"] == "deadline_exceeded"
    assert is_served(host)


def test_a_cancelled_batch_starts_no_more_prompts(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=1)
    engine.open()
    batch = host.send(
        "batch", prompts=["la"] * 5, ignore_eos=True, max_tokens=10**9, stream=True
    )
    host.first_token(batch)
    host.ask("cancel", target=batch)

    assert host.final(batch)["finish_reason"] == "cancelled"
    assert is_served(host)


def test_a_cancelled_classify_is_computed_no_further(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()
    engine.open()
    classify, computed = engine.classify, 0

    def counted(prompts: Any) -> Any:
        nonlocal computed
        computed += 1
        return classify(prompts)

    monkeypatch.setattr(engine, "classify", counted)
    target = host.send("classify", prompts=["one"] * 50_000)
    host.until(lambda message: message["type"] == "item", target)
    host.ask("cancel", target=target)
    host.final(target)
    before = computed

    assert is_served(host)
    assert computed == before


@pytest.mark.parametrize("end", ["granted", "cancelled"])
def test_a_deadline_that_passes_after_the_end_says_nothing(
    connect: Connect, engine: GatedEngine, clock: SkippingClock, end: str
) -> None:
    host = connect()
    engine.open()
    held = host.send("generate", prompt="a b c", window=1, deadline_seconds=1000)
    later = host.send("generate", **ENDLESS, deadline_seconds=1001)
    host.first_token(held)
    assert host.ask("generate", prompt="a b c d e")["tokens_generated"] == 5
    if end == "granted":
        host.ask("credit", target=held, n=5)
    else:
        host.ask("cancel", target=held)
    assert host.final(held)["type"] == "done"

    clock.skip(2000)
    assert host.final(later)["error"]["code"] == "deadline_exceeded"
    assert is_served(host)
    assert len(host.finals(held)) == 1


def test_a_cancelled_request_ends_even_if_the_engine_raises_while_dropping_it(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()
    engine.open()

    def raising(_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "remove", raising)
        target = host.send("generate", **ENDLESS)
        host.first_token(target)
        host.ask("cancel", target=target)
        assert host.final(target)["finish_reason"] == "cancelled"

    assert is_served(host)
