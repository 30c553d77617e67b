"""Requests wait in turn: barriers behind all work, batches beside each other, full memory."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mlxwire_worker.passes import Classified, ClassifyPrompts
from support.gated_engine import GatedEngine
from support.memory_host import Connect, MemoryHost
from support.patience import PATIENCE_SECONDS


@pytest.mark.parametrize("barrier", [{"cmd": "load", "path": "other"}, {"cmd": "unload"}])
@pytest.mark.parametrize(
    "work",
    [
        {"cmd": "generate", "prompt": "a b c"},
        {"cmd": "batch", "prompts": ["a b"] * 5},
        {"cmd": "classify", "prompts": ["a b"] * 500},
    ],
    ids=lambda work: work["cmd"],
)
def test_a_change_of_the_model_waits_for_all_kinds_of_work(
    connect: Connect, engine: GatedEngine, work: dict[str, Any], barrier: dict[str, Any]
) -> None:
    host = connect(slots=1)
    before = host.send(**work)
    change = host.send(**barrier)
    engine.open()

    host.final(change)

    assert host.final(before)["finish_reason"] == "stop"
    assert [m["id"] for m in host.order if m.get("final")][-2:] == [before, change]


def test_two_batches_take_turns_and_both_end(connect: Connect, engine: GatedEngine) -> None:
    host = connect(slots=1)
    first = host.send("generate", prompt="a")
    engine.wait_at_gate()
    batches = [host.send("batch", prompts=["a b"] * 4) for _ in range(2)]
    host.wait_until_prepared()
    engine.open()
    for request in (first, *batches):
        assert host.final(request)["finish_reason"] == "stop"

    items = [m["id"] for m in host.order if m["type"] == "item"]
    assert items == [batches[0], batches[1]] * 4


def test_a_classify_keeps_its_turn_until_a_slice_brings_results(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()
    classify, turns = engine.classify, []

    def in_two_slices(prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        label = next(iter(prompts.labels))
        turns.append(label)
        return classify(prompts) if turns.count(label) % 2 == 0 else []

    monkeypatch.setattr(engine, "classify", in_two_slices)
    host.send("generate", prompt="a")
    engine.wait_at_gate()
    both = [host.send("classify", prompts=["x", "y"], labels=[label]) for label in "ab"]
    host.wait_until_prepared()
    engine.open()
    for request in both:
        assert host.final(request)["type"] == "done"

    assert "".join(turns) == "aabbaabb"


@pytest.mark.parametrize("slots", [1, 2])
def test_a_batch_takes_turns_with_the_requests_behind_it(
    connect: Connect, engine: GatedEngine, slots: int
) -> None:
    host = connect(slots=slots)
    host.send("generate", prompt="a")
    engine.wait_at_gate()
    batch = host.send("batch", prompts=["a b"] * 6)
    others = [host.send("generate", prompt="a b") for _ in range(6)]
    host.wait_until_prepared()
    engine.open()
    for request in (batch, *others):
        assert host.final(request)["finish_reason"] == "stop"

    ends = [
        m["id"] == batch
        for m in host.order
        if m["type"] == "item" or (m["type"] == "done" and m["id"] in others)
    ]
    assert {sum(ends[place : place + 4]) for place in range(0, 12, 4)} == {2}


@pytest.mark.parametrize(
    "work",
    [{"cmd": "generate", "prompt": "a b"}, {"cmd": "batch", "prompts": ["a b", "c d"]}],
    ids=lambda work: work["cmd"],
)
def test_what_has_no_room_in_memory_waits_until_there_is(
    connect: Connect,
    engine: GatedEngine,
    monkeypatch: pytest.MonkeyPatch,
    work: dict[str, Any],
) -> None:
    host = connect()
    engine.open()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "has_room", lambda _: False)
        waiting = host.send(**work)
        steps = engine.passed
        for _ in range(
            5
        ):  # each wakes the engine's thread, and its end tells that it went round
            other = host.send("generate", prompt="another")
            host.ask("cancel", target=other)
            host.final(other)
        assert engine.passed == steps
        assert not host.messages[waiting]

    assert host.ask("classify", prompts=["this wakes the engine"])["type"] == "done"
    assert host.final(waiting)["finish_reason"] == "stop"


@pytest.mark.parametrize("cmd", ["memory", "cache"])
def test_a_service_is_served_between_two_steps_and_by_an_idle_worker(
    connect: Connect, engine: GatedEngine, cmd: str
) -> None:
    host = connect(slots=1)
    assert host.ask(cmd)["type"] == "result"
    engine.open()
    running = host.send("generate", prompt="la", ignore_eos=True, max_tokens=10**9)
    host.first_token(running)
    waiting = host.send("generate", prompt="d")

    assert host.ask(cmd)["type"] == "result"
    assert not host.finals(running)
    assert not host.finals(waiting)


def test_a_service_that_raises_is_an_error_and_the_next_is_served(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()

    def raising(*_: object, **__: object) -> object:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "set_memory", raising)
        patch.setattr(engine, "cache_figures", raising)
        assert host.ask("memory")["error"]["code"] == "internal"
        assert host.ask("cache")["error"]["code"] == "internal"

    assert host.ask("memory")["type"] == "result"


def test_memory_is_told_without_a_model_and_the_cache_is_not(engine: GatedEngine) -> None:
    host = MemoryHost(engine)
    host.hello()

    assert host.ask("memory")["active_bytes"] == 0
    for action in ("stats", "clear"):
        assert host.ask("cache", action=action)["error"]["code"] == "model_not_loaded"


@pytest.mark.parametrize("cmd", ["memory", "cache"])
def test_an_unload_does_not_overtake_what_is_served_between_steps(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch, cmd: str
) -> None:
    host = connect()
    reached, go_on = threading.Event(), threading.Event()

    def refuse(_: object) -> None:
        reached.set()
        assert go_on.wait(PATIENCE_SECONDS)
        raise RuntimeError("broken")

    # The engine's thread has looked for operations between steps, and starts requests now.
    monkeypatch.setattr(engine, "add", refuse)
    host.send("generate", prompt="a b")
    assert reached.wait(PATIENCE_SECONDS)
    between = host.send(cmd)
    unload = host.send("unload")
    host.wait_until_prepared()
    go_on.set()

    assert host.final(unload)["type"] == "result"
    assert [m["id"] for m in host.order if m.get("final")][-2:] == [between, unload]
