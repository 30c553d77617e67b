"""A cancel reaches a request wherever it is, and each ends exactly once (lessons 19 to 22)."""

from __future__ import annotations

import threading

import pytest

from mlxwire_worker.prompts import Prompt, SamplingParams
from support.conversation import ENDLESS
from support.gated_engine import GatedEngine
from support.memory_host import Connect
from support.patience import PATIENCE_SECONDS


def test_a_request_that_waits_for_a_slot_is_cancelled_while_queued(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=1)
    running = host.send("generate", **ENDLESS)
    engine.wait_at_gate()
    waiting = host.send("generate", **ENDLESS)

    assert host.ask("cancel", target=waiting)["outcome"] == "accepted"
    engine.allow()

    final = host.final(waiting)
    assert (final["finish_reason"], final["stage"]) == ("cancelled", "queued")
    assert (final["tokens_generated"], final["metrics"]["prefill_seconds"]) == (0, 0)
    engine.open()
    assert host.first_token(running)["seq"] == 0


def test_a_request_in_its_prefill_is_cancelled_there(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    target = host.send("generate", **ENDLESS)
    engine.wait_at_gate()

    assert host.ask("cancel", target=target)["outcome"] == "accepted"
    engine.allow()

    final = host.final(target)
    assert (final["stage"], final["tokens_generated"]) == ("prefill", 0)


def test_a_request_in_its_decode_ends_before_another_step_is_taken(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    target = host.send("generate", **ENDLESS)
    engine.allow(4)
    engine.wait_at_gate()
    steps = engine.passed

    host.ask("cancel", target=target)
    engine.allow()
    final = host.final(target)

    assert (final["finish_reason"], final["stage"]) == ("cancelled", "decode")
    assert engine.passed == steps + 1
    tokens = [m for m in host.messages[target] if m["type"] == "token"]
    assert final["tokens_generated"] == len(tokens)
    assert final["metrics"]["generated_tokens"] == len(tokens)


def test_neighbours_of_a_cancelled_request_go_on(connect: Connect, engine: GatedEngine) -> None:
    host = connect()
    ids = [host.send("generate", prompt=f"one two three {name}") for name in "abc"]
    engine.allow(2)
    engine.wait_at_gate()
    host.ask("cancel", target=ids[1])
    engine.open()

    assert host.final(ids[1])["finish_reason"] == "cancelled"
    for request_id, name in ((ids[0], "a"), (ids[2], "c")):
        assert host.final(request_id)["finish_reason"] == "stop"
        assert host.text(request_id) == f"one two three {name}"


def test_a_finished_request_is_told_apart_from_one_never_seen(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    engine.open()
    finished = host.send("generate", prompt="short")
    host.final(finished)

    for target, outcome in ((finished, "finished"), ("never", "unknown")):
        result = host.ask("cancel", target=target)
        assert (result["outcome"], result["cancelled"]) == (outcome, 0)
    host.ask("metrics")
    assert len(host.finals(finished)) == 1


def test_a_request_that_was_refused_counts_as_finished(connect: Connect) -> None:
    host = connect()
    refused = host.send("generate")
    assert host.final(refused)["error"]["code"] == "invalid_params"

    assert host.ask("cancel", target=refused)["outcome"] == "finished"


def test_a_cancel_of_itself_finds_nothing_to_stop(connect: Connect) -> None:
    host = connect()
    result = host.ask("cancel", request_id="me", target="me")

    assert result["cancelled"] == 0
    assert len(host.finals("me")) == 1


def test_a_cancel_without_target_reaches_everything_in_flight(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=1)
    ids = [host.send("generate", **ENDLESS) for _ in range(3)]
    ids.append(host.send("classify", prompts=["one", "two"]))
    ids.append(host.send("load", path="other"))
    ids.append(host.send("info"))
    engine.wait_at_gate()

    result = host.ask("cancel")
    engine.open()

    assert (result["outcome"], result["cancelled"]) == ("accepted", 6)
    for request_id in ids:
        assert host.final(request_id)["finish_reason"] == "cancelled"
    assert host.ask("cancel")["outcome"] == "finished"
    assert host.ask("metrics")["cancelled"] == 6


def test_cancelling_twice_ends_the_request_once(connect: Connect, engine: GatedEngine) -> None:
    host = connect()
    target = host.send("generate", **ENDLESS)
    engine.wait_at_gate()
    outcomes = [host.ask("cancel", target=target)["outcome"] for _ in range(2)]
    engine.open()

    assert outcomes == ["accepted", "accepted"]
    host.final(target)
    assert host.ask("cancel", target=target)["outcome"] == "finished"
    assert len(host.finals(target)) == 1


@pytest.mark.parametrize("waits", [True, False], ids=["waiting", "running"])
def test_a_cancelled_load_ends_and_the_old_model_stays(
    connect: Connect, engine: GatedEngine, waits: bool
) -> None:
    host = connect()
    running = host.send("generate", **ENDLESS) if waits else None
    if running:
        engine.wait_at_gate()
    load = host.send("load", path="other")
    if not running:
        engine.wait_at_gate()
    host.ask("cancel", target=load)
    if running:
        host.ask("cancel", target=running)
    engine.open()

    assert host.final(load)["finish_reason"] == "cancelled"
    assert host.ask("info")["path"] == "model"
    assert host.final(host.send("generate", prompt="on"))["finish_reason"] == "stop"


def test_a_classify_is_cancelled_between_its_prompts(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=1)
    engine.open()
    running = host.send("generate", **ENDLESS)
    classify = host.send("classify", prompts=["one"] * 60_000)
    host.until(lambda message: message["type"] == "item", classify)
    host.ask("cancel", target=classify)

    assert host.final(classify)["finish_reason"] == "cancelled"
    assert len(host.messages[classify]) < 60_000
    assert host.first_token(running)["seq"] == 0
    host.ask("cancel", target=running)
    host.final(running)


def test_a_cancelled_stream_sends_the_text_that_it_held_back(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    target = host.send("generate", prompt="one two three", stop=["two three four"])
    engine.allow(2)
    engine.wait_at_gate()
    host.ask("cancel", target=target)
    engine.allow()

    final = host.final(target)

    assert (final["finish_reason"], final["tokens_generated"]) == ("cancelled", 2)
    assert host.text(target) == "one two"


def test_a_batch_none_of_whose_prompts_has_a_slot_yet_is_cancelled(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=1)
    running = host.send("generate", **ENDLESS)
    engine.wait_at_gate()
    batch = host.send("batch", prompts=["a b", "c d"])
    host.wait_until_prepared()
    engine.allow()
    engine.wait_at_gate()  # the engine's thread has gone round, and the batch has left the queue

    host.ask("cancel", target=batch)
    engine.allow()

    final = host.final(batch)
    assert (final["finish_reason"], final["stage"]) == ("cancelled", "prefill")
    assert not host.finals(running)


def test_a_request_that_is_cancelled_before_its_turn_to_be_prepared_is_not_prepared(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()
    engine.open()
    prepare, seen = engine.text_prompt, []
    reached, go_on = threading.Event(), threading.Event()

    def watched(text: str, params: SamplingParams, *, field: str) -> Prompt:
        seen.append(text)
        reached.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return prepare(text, params, field=field)

    monkeypatch.setattr(engine, "text_prompt", watched)
    first = host.send("generate", prompt="first")
    assert reached.wait(PATIENCE_SECONDS)
    cancelled = host.send("generate", prompt="cancelled")
    host.ask("cancel", target=cancelled)
    assert host.final(cancelled)["finish_reason"] == "cancelled"
    go_on.set()

    assert host.final(first)["finish_reason"] == "stop"
    host.ask("generate", prompt="last")
    assert seen == ["first", "last"]
