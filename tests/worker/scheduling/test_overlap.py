"""Requests beside each other: order, barriers, limits, and what is answered meanwhile."""

from __future__ import annotations

import queue
import threading

import pytest

from mlxwire_worker.passes import Classified, ClassifyPrompts
from mlxwire_worker.prompts import Failed, Prompt, StepResult
from support.conversation import ENDLESS
from support.gated_engine import GatedEngine
from support.memory_host import Connect, MemoryHost
from support.patience import PATIENCE_SECONDS

NEED_A_MODEL = {
    "info": {},
    "generate": {"prompt": "x"},
    "chat": {"messages": [{"role": "user", "content": "x"}]},
    "classify": {"prompts": ["x"]},
    "unload": {},
}


@pytest.mark.parametrize("cmd", NEED_A_MODEL)
def test_what_needs_a_model_says_so_before_one_is_loaded(cmd: str, engine: GatedEngine) -> None:
    host = MemoryHost(engine)
    host.hello()

    error = host.ask(cmd, **NEED_A_MODEL[cmd])["error"]

    assert error["code"] == "model_not_loaded"
    assert "load" in error["message"]


def test_requests_start_in_order_of_arrival(connect: Connect, engine: GatedEngine) -> None:
    host = connect(slots=1)
    engine.open()
    ids = [host.send("generate", prompt=f"request {number}") for number in range(20)]
    for request_id in ids:
        host.final(request_id)

    finals = [m["id"] for m in host.order if m["type"] == "done"]
    assert finals == ids


def test_as_many_run_at_once_as_there_are_slots(connect: Connect, engine: GatedEngine) -> None:
    host = connect(slots=3)
    for _ in range(5):
        host.send("generate", **ENDLESS)
    engine.wait_at_gate()
    engine.allow()
    engine.wait_at_gate()

    figures = host.ask("metrics")

    assert (figures["in_flight"], figures["queued"], figures["batch_size"]) == (5, 2, 3)


def test_metrics_info_and_cancel_are_answered_while_the_engine_computes(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    target = host.send("generate", **ENDLESS)
    engine.wait_at_gate()

    assert host.ask("metrics", request_id="m")["in_flight"] == 1
    assert host.ask("info")["path"] == "model"
    assert host.ask("cancel", target=target)["outcome"] == "accepted"


def test_info_after_a_load_waits_for_it_and_tells_of_the_new_model(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    load = host.send("load", path="other")
    engine.wait_at_gate()
    info = host.send("info")
    assert host.ask("metrics")["in_flight"] == 2
    engine.allow()

    assert host.final(info)["path"] == "other"
    assert len(host.finals(load)) == 1


def test_a_load_waits_for_what_runs_and_what_comes_after_it_gets_the_new_model(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(slots=8)
    before = host.send("generate", prompt="a b c d")
    load = host.send("load", path="other", context_len=3)
    after = host.send("generate", prompt="too long for three")
    engine.open()

    assert host.final(before)["finish_reason"] == "stop"
    assert host.final(load)["path"] == "other"
    assert host.final(after)["error"]["code"] == "context_overflow"
    finals = [m["id"] for m in host.order if m.get("final")]
    assert finals[-3:] == [before, load, after]


def test_a_load_that_fails_keeps_the_old_model(connect: Connect, engine: GatedEngine) -> None:
    host = connect()
    engine.open()

    assert host.ask("load", path="broken")["error"]["code"] == "model_load_failed"

    assert host.ask("info")["path"] == "model"
    answer = host.send("generate", prompt="still the old one")
    host.final(answer)
    assert host.text(answer) == "still the old one"


def test_unload_waits_for_what_runs_and_leaves_no_model(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    before = host.send("generate", prompt="a b c")
    unload = host.send("unload")
    after = host.send("generate", prompt="a b c")
    info = host.send("info")
    engine.open()

    assert host.final(before)["finish_reason"] == "stop"
    assert host.final(unload)["ok"] is True
    assert host.final(after)["error"]["code"] == "model_not_loaded"
    assert host.final(info)["error"]["code"] == "model_not_loaded"
    engine.allow()
    assert host.load("again")["path"] == "again"


def test_beyond_max_inflight_work_is_refused_and_questions_are_not(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect(max_inflight=2)
    held = [host.send("generate", **ENDLESS) for _ in range(2)]
    engine.wait_at_gate()

    error = host.ask("generate", prompt="one more")["error"]

    assert (error["code"], error["retryable"]) == ("overloaded", True)
    assert error["data"] == {"max_inflight": 2}
    assert host.ask("metrics")["in_flight"] == 2
    assert host.ask("info")["path"] == "model"
    assert host.ask("cancel")["cancelled"] == 2
    engine.open()
    for request_id in held:
        host.final(request_id)
    assert host.final(host.send("generate", prompt="now"))["finish_reason"] == "stop"


def test_a_duplicate_id_is_refused_and_the_first_request_unharmed(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    first = host.send("generate", prompt="one two three")
    engine.wait_at_gate()
    host.write(b'{"id":"%s","cmd":"metrics"}\n' % first.encode())
    engine.open()

    errors = host.until(lambda message: message["type"] == "error", first)
    assert errors["error"]["code"] == "duplicate_id"
    # The error ends the second line alone, so what follows it is read past the driver's check.
    host.messages[first].clear()
    assert host.final(first)["finish_reason"] == "stop"


def test_without_room_in_the_pipe_generation_waits_and_control_does_not(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    engine.open()
    host.writer.full = True
    waiting = host.send("generate", prompt="one two three")

    taken = engine.passed
    for _ in range(5):  # each wakes the engine's thread, and its end tells that it went round
        other = host.send("generate", prompt="another")
        host.ask("cancel", target=other)
        host.final(other)
    assert engine.passed == taken
    assert host.ask("metrics")["generated_tokens"] == 0
    assert host.ask("info")["path"] == "model"
    host.make_room()

    assert host.final(waiting)["finish_reason"] == "stop"
    assert host.text(waiting) == "one two three"


def test_a_cancel_without_room_in_the_pipe_still_ends_its_request(
    connect: Connect, engine: GatedEngine
) -> None:
    host = connect()
    engine.open()
    host.writer.full = True
    target = host.send("generate", **ENDLESS)
    host.ask("cancel", target=target)

    assert host.final(target)["finish_reason"] == "cancelled"


def test_an_engine_that_raises_fails_its_requests_and_serves_the_next(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()

    def raising() -> list[object]:
        raise RuntimeError("[metal] out of memory while allocating: secret prompt")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "step", raising)
        errors = [host.ask("generate", prompt="x")["error"] for _ in range(2)]
    engine.open()

    assert [error["code"] for error in errors] == ["out_of_memory"] * 2
    assert "secret" not in str(errors)
    assert host.ask("generate", prompt="fine")["finish_reason"] == "stop"


def test_an_engine_that_can_not_even_drop_what_failed_serves_the_next(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()

    def raising(*_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "step", raising)
        patch.setattr(engine, "remove", raising)
        assert host.ask("generate", prompt="x")["error"]["code"] == "internal"
    engine.open()

    assert host.ask("generate", prompt="fine")["finish_reason"] == "stop"


def test_an_engine_that_can_not_classify_fails_that_and_serves_the_next(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()

    def raising(_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "classify", raising)
        assert host.ask("classify", prompts=["a"])["error"]["code"] == "internal"

    assert host.ask("classify", prompts=["a"])["type"] == "done"


def test_an_engine_that_refuses_a_prompt_fails_that_alone(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect(slots=1)
    engine.open()
    add = engine.add

    def refuse_long(prompt: Prompt) -> None:
        if len(prompt.ids) > 3:
            raise RuntimeError("refused")
        add(prompt)

    monkeypatch.setattr(engine, "add", refuse_long)
    refused = host.send("generate", prompt="a b c d")
    batch = host.send("batch", prompts=["a", "a b c d", "c"])

    assert host.final(refused)["error"]["code"] == "internal"
    assert host.final(batch)["finish_reason"] == "stop"
    items = [m for m in host.messages[batch] if m["type"] == "item"]
    assert [bool(item["error"]) for item in items] == [False, True, False]


def test_a_sequence_that_the_engine_gives_up_ends_alone_and_leaves_nothing(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect(slots=2)
    step = engine.step

    def give_long_up() -> list[StepResult]:
        results = step()
        engine.remove([result.prompt for result in results if len(result.prompt.ids) > 3])
        return [
            Failed(result.prompt, RuntimeError("poison"))
            if len(result.prompt.ids) > 3
            else result
            for result in results
        ]

    monkeypatch.setattr(engine, "step", give_long_up)
    given_up = host.send("generate", prompt="a b c d")
    other = host.send("generate", prompt="a b")
    host.wait_until_prepared()
    engine.open()

    assert host.final(given_up)["error"]["code"] == "internal"
    metrics = host.final(other)["metrics"]
    assert (metrics["generated_tokens"], metrics["batch_size"]) == (2, 1)
    host.load("other")  # it waits for all that runs


def test_a_fault_that_nobody_foresaw_ends_all_that_runs_and_nothing_else(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect(slots=2)
    engine.open()
    endless = {"ignore_eos": True, "max_tokens": 10**9, "stream": True}
    running = [
        host.send("generate", **ENDLESS),
        host.send("batch", prompts=["la"] * 3, **endless),
    ]
    for request in running:
        host.first_token(request)
    running.append(host.send("classify", prompts=["one"] * 60_000))
    host.until(lambda message: message["type"] == "item", running[-1])
    waiting = host.send("generate", prompt="a b")
    host.wait_until_prepared()
    faults = ["once"]

    def decoding(_: GatedEngine) -> bool:
        if faults:
            raise RuntimeError(faults.pop())
        return True

    monkeypatch.setattr(GatedEngine, "decoding", property(decoding))

    for request in running:
        assert host.final(request)["error"]["code"] == "internal"
    assert host.final(waiting)["tokens_generated"] == 2


@pytest.mark.parametrize("cmd", ["generate", "classify"])
def test_the_engine_s_thread_sleeps_while_the_pipe_has_no_room(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch, cmd: str
) -> None:
    host = connect(slots=1)
    engine.open()
    host.writer.full = True
    asleep, wait = threading.Event(), host.inbox.alarm.wait

    def wait_and_tell(timeout: float | None = None) -> bool:
        jobs = host.session.ledger.jobs
        if [job.stage for job in jobs.values()] == ["prefill", "queued"]:
            asleep.set()
        return wait(timeout)

    monkeypatch.setattr(host.inbox.alarm, "wait", wait_and_tell)
    fields = {"generate": ENDLESS, "classify": {"prompts": ["one"] * 9}}[cmd]
    running = host.send(cmd, **fields)
    host.send("load", path="other")  # it is ready, and may not start beside that

    assert asleep.wait(PATIENCE_SECONDS)
    assert not host.finals(running)


def test_a_request_that_can_not_be_prepared_is_an_internal_error_without_its_text(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()

    def raising(*_: object, **__: object) -> object:
        raise KeyError("secret prompt")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "text_prompt", raising)
        error = host.ask("generate", prompt="x")["error"]

    assert error["code"] == "internal"
    assert "secret" not in str(error)
    engine.open()
    assert host.ask("generate", prompt="fine")["finish_reason"] == "stop"


def test_metrics_add_up_what_the_requests_told(connect: Connect, engine: GatedEngine) -> None:
    host = connect()
    engine.open()
    done = [host.ask("generate", prompt="one two " * number) for number in range(1, 6)]
    host.ask("generate")

    total = host.ask("metrics")

    for name in ("prompt_tokens", "generated_tokens"):
        assert total[name] == sum(one["metrics"][name] for one in done)
    assert total["queue_seconds"] == pytest.approx(
        sum(one["metrics"]["queue_seconds"] for one in done)
    )
    assert (total["errors"], total["in_flight"], total["cancelled"]) == (1, 0, 0)
    for one in done:
        metrics = one["metrics"]
        parts = ("queue_seconds", "prefill_seconds", "decode_seconds")
        assert sum(metrics[part] for part in parts) <= metrics["total_seconds"] + 1e-6
        assert metrics["first_token_seconds"] <= metrics["total_seconds"]


def test_the_engine_s_heavy_imports_are_made_once_and_wait_for_no_request(
    engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MemoryHost(engine)
    calls: queue.SimpleQueue[str] = queue.SimpleQueue()
    monkeypatch.setattr(engine, "preload", lambda: calls.put("preload"))

    host.inbox.preload()

    assert calls.get(timeout=PATIENCE_SECONDS) == "preload"
    host.hello()
    assert host.ask("memory")["type"] == "result"
    assert calls.empty()


def test_a_request_that_needs_no_step_does_not_wake_the_engine(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()
    woken: list[str] = []
    monkeypatch.setattr(host.inbox.alarm, "notify_all", lambda: woken.append("engine"))

    assert host.ask("tokenize", text="a b")["count"] == 2
    assert host.ask("cancel", target="nobody")["outcome"] == "unknown"
    assert host.ask("generate", prompt="a", top_k=10**6)["error"]["code"] == "invalid_params"
    host.wait_until_prepared()

    assert not woken


def test_the_pulse_tells_what_the_engine_s_thread_does(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()
    pulse, seen = host._scheduler.pulse, []
    classify = engine.classify

    def watched(prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        seen.append(pulse.phase)
        return classify(prompts)

    monkeypatch.setattr(engine, "classify", watched)
    host.ask("classify", prompts=["one"])
    load = host.send("load", path="other")
    engine.wait_at_gate()
    seen.append(pulse.phase)
    engine.allow()
    host.final(load)
    generate = host.send("generate", prompt="a b")
    engine.wait_at_gate()
    seen.append(pulse.phase)
    engine.allow()
    engine.wait_at_gate()
    seen.append(pulse.phase)
    asleep: queue.SimpleQueue[str] = queue.SimpleQueue()
    wait = host.inbox.alarm.wait

    def wait_and_tell(timeout: float | None = None) -> bool:
        asleep.put(pulse.phase)
        return wait(timeout)

    monkeypatch.setattr(host.inbox.alarm, "wait", wait_and_tell)
    engine.open()
    host.final(generate)
    seen.append(asleep.get(timeout=PATIENCE_SECONDS))

    assert seen == ["classify", "load", "prefill", "decode", "idle"]
