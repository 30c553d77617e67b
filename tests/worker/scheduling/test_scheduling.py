"""Order and fairness of the loop, batches within it, and heartbeats, over the mock engine."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mock.engine import MockEngine
from mlxwire_worker.prompts import Prompt, Sampled, SamplingParams, StepResult
from support.conversation import ENDLESS, Message
from support.driver import mock
from support.gated_engine import GatedEngine
from support.memory_host import MemoryHost
from support.patience import PATIENCE_SECONDS
from support.skipping_clock import SkippingClock


def connected(engine: MockEngine, slots: int = 4) -> MemoryHost:
    host = MemoryHost(engine)
    host.hello()
    host.load(parallel_slots=slots)
    return host


def test_a_thousand_at_once_all_finish_first_come_first_served() -> None:
    engine, slots = GatedEngine(), 8
    engine.allow()
    host = connected(engine, slots)

    ids, about_to_send, sent = [], [], []
    for number in range(1000):
        about_to_send.append(time.perf_counter())
        ids.append(host.send("generate", prompt=f"word {number}"))
        sent.append(time.perf_counter())
    opened = time.perf_counter()
    engine.open()
    finals = [host.final(request) for request in ids]
    ended = time.perf_counter()

    assert {final["finish_reason"] for final in finals} == {"stop"}
    firsts: dict[str, None] = {}
    for message in host.order:
        if message["type"] == "token":
            firsts.setdefault(message["id"])
    assert list(firsts) == ids
    # None but the first few could begin before the gate opened, whatever the machine did.
    for number in range(slots, 1000):
        waited = finals[number]["metrics"]["queue_seconds"]
        assert opened - sent[number] <= waited <= ended - about_to_send[number]


def test_past_max_inflight_a_request_is_refused_and_may_come_again() -> None:
    engine = GatedEngine()
    engine.allow()
    host = MemoryHost(engine, max_inflight=10)
    host.hello()
    host.load(parallel_slots=1)
    ids = [host.send("generate", prompt="a b") for _ in range(14)]
    engine.open()

    errors = [m["error"] for m in map(host.final, ids) if m["type"] == "error"]

    assert len(errors) == 4
    assert all(e["code"] == "overloaded" and e["retryable"] for e in errors)
    assert host.ask("generate", prompt="a b")["type"] == "done"


# -- batch ---------------------------------------------------------------------------


def items(host: MemoryHost, request: str) -> dict[int, dict[str, object]]:
    found = [m for m in host.messages[request] if m["type"] == "item"]
    assert len({m["index"] for m in found}) == len(found)
    return {m["index"]: m for m in found}


def test_two_hundred_prompts_in_four_slots_each_have_their_own_item() -> None:
    host = connected(MockEngine(), slots=4)
    dice = random.Random(1)
    prompts = [" ".join(["w"] * dice.randrange(1, 9)) + f" {n}" for n in range(200)]

    done = host.ask("batch", prompts=prompts)

    got = items(host, done["id"])
    assert [got[n]["text"] for n in range(200)] == prompts
    assert all(item["finish_reason"] == "stop" for item in got.values())
    assert done["tokens_generated"] == sum(len(prompt.split()) for prompt in prompts)
    assert [m["index"] for m in host.messages[done["id"]][:-1]] != list(range(200))


def test_a_streamed_batch_counts_for_each_prompt_by_itself() -> None:
    host = connected(MockEngine())
    prompts = ["a b c", "d", "e f g h"]
    done = host.ask("batch", prompts=prompts, stream=True)

    for index, prompt in enumerate(prompts):
        told = [
            m
            for m in host.messages[done["id"]]
            if m["type"] in ("token", "item") and m["index"] == index
        ]
        assert [m["seq"] for m in told[:-1]] == list(range(len(prompt.split())))
        assert "".join(m["token"] for m in told[:-1]) == told[-1]["text"] == prompt


class Fussy(MockEngine):
    """Prompts with "bad" fail where they are prepared, with "sad" where they are computed."""

    def text_prompt(self, text: str, params: SamplingParams, *, field: str) -> Prompt:
        if field.startswith("prompts") and "bad" in text:
            raise WireError("context_overflow", "too long; shorten it")
        return super().text_prompt(text, params, field=field)

    def step(self) -> list[StepResult]:
        results = super().step()
        return [self._spoilt(r) if isinstance(r, Sampled) else r for r in results]

    def _spoilt(self, result: Sampled) -> StepResult:
        if "sad" in "".join(map(self._words.text_of, result.prompt.ids)):
            return result._replace(token_id=[])  # type: ignore[arg-type]
        return result


def test_prompts_that_fail_are_their_own_items_errors() -> None:
    host = connected(Fussy(), slots=2)
    prompts = ["a b", "bad", "c", "bad too", "d e f", "so sad", "g"]

    done = host.ask("batch", prompts=prompts)

    got = items(host, done["id"])
    assert done["type"] == "done"
    for index, prompt in enumerate(prompts):
        if "bad" in prompt:
            assert got[index]["error"]["code"] == "context_overflow"  # type: ignore[index]
            assert got[index]["finish_reason"] is None
        elif "sad" in prompt:
            assert got[index]["error"]["code"] == "internal"  # type: ignore[index]
        else:
            assert (got[index]["text"], got[index]["error"]) == (prompt, None)


def test_what_fails_between_engine_and_wire_ends_its_own_stream_alone() -> None:
    host = connected(Fussy())
    good = [host.send("generate", prompt=f"good {n} text") for n in range(5)]
    bad = host.send("generate", prompt="sad")

    assert host.final(bad)["error"]["code"] == "internal"
    assert [host.final(one)["finish_reason"] for one in good] == ["stop"] * 5


def test_a_batch_whose_prompts_all_fail_ends_too() -> None:
    host = connected(Fussy(), slots=1)

    done = host.ask("batch", prompts=["bad", "bad"])

    assert done["type"] == "done"
    assert len(items(host, done["id"])) == 2


def test_a_wrong_option_fails_the_whole_batch() -> None:
    host = connected(MockEngine())

    error = host.ask("batch", prompts=["a", "b"], top_k=10**6)["error"]

    assert (error["code"], error["data"]["field"]) == ("invalid_params", "top_k")


def test_a_batch_is_cancelled_as_a_whole_wherever_its_prompts_are() -> None:
    host = connected(MockEngine(), slots=2)
    batch = host.send(
        "batch", prompts=["w " * 50] * 40, stream=True, ignore_eos=True, max_tokens=10**9
    )
    other = host.send("generate", prompt="a b c")
    host.first_token(batch)

    assert host.ask("cancel", target=batch)["outcome"] == "accepted"
    final = host.final(batch)

    assert (final["finish_reason"], final["stage"]) == ("cancelled", "decode")
    assert final["tokens_generated"] == sum(
        m["type"] == "token" and not m["flush"] for m in host.messages[batch]
    )
    assert host.final(other)["finish_reason"] == "stop"


def test_a_chat_behind_a_large_batch_does_not_wait_for_it() -> None:
    engine = GatedEngine()
    engine.allow()
    host = connected(engine, slots=4)
    batch = host.send("batch", prompts=["some words to say"] * 500)
    chat = host.send("chat", messages=[{"role": "user", "content": "hello there"}])
    host.wait_until_prepared()  # on a busy machine the batch would be far ahead of it
    engine.open()

    host.final(chat)
    assert len(items(host, batch)) < 50

    host.final(batch)
    assert len(items(host, batch)) == 500


class SlowToPrepare(MockEngine):
    """Tells when the tenth prompt of a batch is prepared, and waits there."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.prepared = 0

    def text_prompt(self, text: str, params: SamplingParams, *, field: str) -> Prompt:
        self.prepared += 1
        if field == "prompts[10]":
            self.reached.set()
            self.go_on.wait(PATIENCE_SECONDS)
        return super().text_prompt(text, params, field=field)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_batch_that_is_being_prepared_can_be_ended(clock: SkippingClock, how: str) -> None:
    engine = SlowToPrepare()
    host = connected(engine)
    options = {"deadline_seconds": 1000} if how == "deadline" else {}
    batch = host.send("batch", prompts=["a"] * 1000, **options)
    assert engine.reached.wait(PATIENCE_SECONDS)
    if how == "cancel":
        host.send("cancel", target=batch)
    else:
        clock.skip(999.5)
        host.wake()  # it has yet to wait for the rest of the time by itself

    final = host.final(batch)
    engine.go_on.set()

    assert final.get("stage", "queued") == "queued"
    assert host.ask("generate", prompt="a")["type"] == "done"
    assert engine.prepared < 20


# -- heartbeats ----------------------------------------------------------------------


def test_a_heart_beats_while_a_step_takes_long_and_tells_its_age() -> None:
    with mock("--heartbeat-seconds", "0.05", "--mock-step-seconds", "3600") as worker:
        worker.hello(events=["heartbeat"])
        worker.load()
        worker.send("generate", prompt="a b c", max_tokens=1)
        busy: list[dict[str, Any]] = []
        while len(busy) < 3 or busy[-1]["last_step_seconds"] < 0.3:
            busy += beats_of(worker.receive())

    assert {beat["in_flight"] for beat in busy} == {1}
    ages = [beat["last_step_seconds"] for beat in busy]
    assert ages == sorted(ages)
    assert len({beat["steps"] for beat in busy}) == 1


def test_a_heart_beat_counts_the_steps() -> None:
    with mock("--heartbeat-seconds", "0.01") as worker:
        worker.hello(events=["heartbeat"])
        worker.load()
        worker.send("generate", **ENDLESS)
        busy: list[dict[str, Any]] = []
        while len(busy) < 2 or busy[-1]["steps"] == busy[0]["steps"]:
            busy += beats_of(worker.receive())

    steps = [beat["steps"] for beat in busy]
    assert steps == sorted(steps)


def beats_of(message: Message) -> list[dict[str, Any]]:
    """Return the data of a heartbeat that tells of work, and nothing for other messages."""
    if message.get("event") != "heartbeat" or message["data"]["phase"] == "idle":
        return []
    return [message["data"]]


def test_an_idle_worker_says_so() -> None:
    with mock("--heartbeat-seconds", "0.05") as worker:
        worker.hello(events=["heartbeat"])
        beat: Callable[[dict[str, object]], bool] = lambda m: m["type"] == "event"  # noqa: E731
        data = worker.until(beat, None)["data"]

    assert data["phase"] == "idle"
    assert (data["in_flight"], data["queued"], data["steps"]) == (0, 0, 0)


def test_no_heart_beats_for_who_did_not_ask() -> None:
    with mock("--heartbeat-seconds", "0.02", "--mock-step-seconds", "0.2") as worker:
        worker.hello()
        worker.load()
        worker.ask("generate", prompt="a", max_tokens=1)

    assert not worker.messages[None]
