"""`window` and `credit`, deadlines, and the end with streams held back: the loop over the mock."""

from __future__ import annotations

from typing import Any

import pytest

from support.conversation import Message
from support.driver import mock
from support.gated_engine import GatedEngine
from support.memory_host import Connect, MemoryHost
from support.skipping_clock import SkippingClock

WORDS = " ".join(f"w{number}" for number in range(20))


def tokens(host: MemoryHost, request: str) -> list[Message]:
    return [m for m in host.messages[request] if m["type"] in ("token", "item")]


def settled(host: MemoryHost) -> None:
    """Wait until all that was on its way has come: a `metrics` is answered behind it."""
    host.ask("metrics")


def complete(host: MemoryHost, engine: GatedEngine, **fields: Any) -> str:
    """Let the engine compute a windowed request to its end, which one beside it tells."""
    held = host.send("generate", prompt=WORDS, **fields)
    beside = host.send("generate", prompt=f"{WORDS} one more")
    engine.open()
    assert host.final(beside)["type"] == "done"
    settled(host)
    return held


@pytest.mark.parametrize("window", [1, 2, 7, 19])
def test_no_more_come_than_the_window_lets_and_the_rest_with_credit(
    connect: Connect, engine: GatedEngine, window: int
) -> None:
    host = connect()
    held = complete(host, engine, window=window)
    assert len(tokens(host, held)) == window
    assert not host.finals(held)

    told = host.ask("credit", target=held, n=3)
    assert told["credit"] == max(0, window + 3 - 20)
    assert len(tokens(host, held)) == min(window + 3, 20)

    host.ask("credit", target=held, n=100)
    final = host.final(held)
    assert final["finish_reason"] == "stop"
    assert final["tokens_generated"] == 20
    assert [m["seq"] for m in tokens(host, held)] == list(range(20))
    assert host.text(held) == WORDS


def test_a_window_as_long_as_the_answer_holds_nothing(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    engine.open()

    assert host.ask("generate", prompt=WORDS, window=20)["tokens_generated"] == 20


def test_a_stream_that_is_never_granted_stops_nobody_else(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=2)
    held = host.send("generate", prompt=WORDS, window=1)
    engine.open()
    for number in range(10):
        assert host.ask("generate", prompt=f"a {number} b")["tokens_generated"] == 3

    assert len(tokens(host, held)) == 1
    assert host.ask("cancel", target=held)["outcome"] == "accepted"
    final = host.final(held)
    assert (final["finish_reason"], final["stage"]) == ("cancelled", "decode")
    assert final["tokens_generated"] == 1
    assert host.ask("credit", target=held, n=5)["credit"] == 0
    assert len(host.finals(held)) == 1


def test_a_cancel_in_the_middle_counts_what_was_told_alone(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    held = host.send("generate", prompt=WORDS, window=3, logprobs=True)
    engine.wait_at_gate()
    engine.allow(8)
    engine.wait_at_gate()
    host.send("cancel", target=held)
    engine.open()

    final = host.final(held)

    assert final["finish_reason"] == "cancelled"
    assert final["tokens_generated"] == len(tokens(host, held)) == 3


def test_items_count_against_a_batch_s_window(connect: Connect, engine: GatedEngine) -> None:
    host = connect()
    held = host.send("batch", prompts=["a b c", "d e", "f", "g h"], window=2)
    engine.open()
    host.ask("generate", prompt=WORDS)
    settled(host)
    assert len(tokens(host, held)) == 2
    told = sum(item["tokens_generated"] for item in tokens(host, held))

    host.send("cancel", target=held)

    assert host.final(held)["tokens_generated"] == told


def test_classify_keeps_to_its_window_too(connect: Connect, engine: GatedEngine) -> None:
    host = connect()
    engine.open()
    held = host.send("classify", prompts=["a", "b", "c"], window=1)
    host.ask("generate", prompt=WORDS)
    settled(host)
    assert len(tokens(host, held)) == 1

    host.ask("credit", target=held, n=2)

    assert host.final(held)["type"] == "done"
    assert {m["index"] for m in tokens(host, held)} == {0, 1, 2}


def test_credit_for_who_needs_none_is_refused_and_sums_stay_in_range(
    connect: Connect,
) -> None:
    host = connect()
    plain = host.send("generate", prompt=WORDS)
    held = host.send("generate", prompt=WORDS, window=1)

    assert host.ask("credit", target=plain, n=1)["error"]["code"] == "invalid_params"
    assert host.ask("credit", target="nobody", n=1)["credit"] == 0
    for _ in range(2):
        told = host.ask("credit", target=held, n=2**53 - 1)
        assert told["credit"] == 2**53 - 1


# -- deadlines -----------------------------------------------------------------------


def expired(final: Message) -> tuple[str, int]:
    assert final["type"] == "error", final
    assert final["error"]["code"] == "deadline_exceeded"
    assert final["error"]["retryable"] is False
    data = final["error"]["data"]
    assert data["stage"] in final["error"]["message"]
    return data["stage"], data["tokens_generated"]


def test_a_deadline_ends_what_is_queued(connect: Connect, engine: GatedEngine) -> None:
    host = connect(slots=1)
    first = host.send("generate", prompt=WORDS)
    engine.wait_at_gate()
    late = host.send("generate", prompt="x", deadline_seconds=1e-6)
    engine.allow()

    assert expired(host.final(late)) == ("queued", 0)
    engine.open()
    assert host.final(first)["finish_reason"] == "stop"


def test_a_deadline_ends_a_prefill_and_a_decode(
    connect: Connect, engine: GatedEngine, clock: SkippingClock
) -> None:
    host = connect()
    prefilling = host.send("generate", prompt=WORDS, deadline_seconds=1000)
    engine.wait_at_gate()
    decoding = host.send("generate", prompt=WORDS, deadline_seconds=5000)
    clock.skip(2000)  # the time of the first is over while a step is under way
    engine.allow()
    assert expired(host.final(prefilling)) == ("prefill", 0)

    engine.allow(3)
    host.first_token(decoding)
    engine.wait_at_gate()
    clock.skip(4000)
    engine.allow()
    stage, count = expired(host.final(decoding))

    assert stage == "decode"
    assert count == len(tokens(host, decoding)) >= 1


def test_a_deadline_ends_a_stream_that_is_held_back(
    connect: Connect, engine: GatedEngine, clock: SkippingClock
) -> None:
    host = connect()
    held = complete(host, engine, window=4, deadline_seconds=1000)
    clock.skip(999.5)
    host.wake()  # it has yet to wait for the rest of the time by itself

    assert expired(host.final(held)) == ("decode", 4)


def test_a_deadline_ends_a_batch_as_a_whole(
    connect: Connect, engine: GatedEngine, clock: SkippingClock
) -> None:
    host = connect(slots=2)
    late = host.send("batch", prompts=["a", WORDS, "b"], deadline_seconds=1000)
    engine.allow(2)
    engine.wait_at_gate()
    clock.skip(2000)
    engine.open()

    assert expired(host.final(late))[0] == "decode"
    assert host.ask("generate", prompt="a b")["tokens_generated"] == 2


def test_a_deadline_that_is_kept_leaves_no_trace(connect: Connect, engine: GatedEngine) -> None:
    host = connect()
    engine.open()
    for _ in range(50):
        assert host.ask("generate", prompt="a b", deadline_seconds=60)["type"] == "done"
    host.ask("generate", prompt="a b", deadline_seconds=1e-6)
    host.ask("generate", prompt="a b")

    assert len(host.inbox.timed()) <= 1


# -- the end -------------------------------------------------------------------------


def held_streams(worker: Any) -> list[str]:
    """Start two streams that wait for credit: one is computed to its end, one goes on for long."""
    done = worker.send("generate", prompt=WORDS, window=2)
    going = worker.send("generate", prompt=WORDS, window=2, ignore_eos=True, max_tokens=4000)
    worker.ask("generate", prompt=WORDS)
    return [done, going]


def test_quit_ends_held_streams_at_once() -> None:
    with mock() as worker:
        worker.hello()
        worker.load()
        held = held_streams(worker)
        quit_id = worker.send("quit")
        messages = worker.drain()
        assert worker.wait() == 0

    for request in held:
        (final,) = worker.finals(request)
        assert final["finish_reason"] == "cancelled"
        assert final["tokens_generated"] == 2
    assert messages[-1]["id"] == quit_id


def test_the_end_of_stdin_ends_held_streams_at_once() -> None:
    with mock() as worker:
        worker.hello()
        worker.load()
        held = held_streams(worker)
        worker.close_stdin()
        worker.drain()
        assert worker.wait() == 0

    assert [worker.finals(request)[0]["finish_reason"] for request in held] == ["cancelled"] * 2


def test_a_worker_that_drains_waits_for_no_credit_that_can_not_come() -> None:
    with mock("--drain-on-eof") as worker:
        worker.hello()
        worker.load()
        held = held_streams(worker)
        worker.close_stdin()
        worker.drain()
        assert worker.wait() == 0

    finals = [worker.finals(request)[0] for request in held]
    assert [final["finish_reason"] for final in finals] == ["stop", "length"]
    assert worker.text(held[0]) == WORDS


@pytest.mark.parametrize("cmd", ["generate", "batch", "classify"])
def test_what_waits_for_credit_is_bounded_and_the_others_go_on(
    connect: Connect,
    engine: GatedEngine,
    cmd: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlxwire_worker.requests.delivery.MAX_HELD_BYTES", 2000)
    host = connect()
    engine.open()
    asked: dict[str, Any] = {
        "generate": {"prompt": f"{WORDS} {WORDS} {WORDS}"},
        "batch": {"prompts": [WORDS] * 40, "stream": True},
        "classify": {"prompts": ["one"] * 100},
    }[cmd]
    held = host.send(cmd, window=1, **asked)
    beside = host.send("generate", prompt=WORDS)

    error = host.final(held)["error"]

    assert (error["code"], error["retryable"]) == ("overloaded", True)
    assert len(tokens(host, held)) == 1
    assert host.final(beside)["type"] == "done"


def test_credit_that_comes_too_late_turns_no_overload_into_a_cancel(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxwire_worker.requests.delivery.MAX_HELD_BYTES", 0)
    host = connect()
    target = host.send("generate", prompt=WORDS, window=1)

    def grant() -> None:
        """The host's credit comes between the message that was too much and its end."""
        if host.session.ledger.jobs[target].delivery.held:
            host.send("credit", target=target, n=1)

    monkeypatch.setattr(host.writer, "uncork", grant)
    engine.open()

    assert host.final(target)["error"]["code"] == "overloaded"
