"""Values of options that mean nothing are refused by name, before anything is done with them."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable
from typing import Any

import pytest

import mlxwire
from mlxwire import sync

NAN, INF = math.nan, math.inf
WRONG_SECONDS = [-1, -0.001, NAN, "5", True]


async def refused(make: Callable[[], Any], field: str) -> None:
    async def made() -> None:
        asked = make()
        if asyncio.iscoroutine(asked):
            await asked

    with pytest.raises(mlxwire.InvalidParams, match=f"`{field}[.`]") as caught:
        await made()
    assert caught.value.data["field"] == field


@pytest.mark.parametrize("method", ["generate", "chat", "batch"])
@pytest.mark.parametrize("name", ["id", "cmd", "window", "stream"])
async def test_a_field_of_the_client_itself_is_no_option(memory, method, name):
    worker = await memory(capabilities={"window": True})
    subject = ["p"] if method == "batch" else "p"
    for _ in range(5):
        await refused(lambda: getattr(worker.model, method)(subject, **{name: "x"}), name)
    assert worker.process.requests == []
    assert worker.connection.failure is None


@pytest.mark.parametrize("name", ["id", "cmd", "window"])
async def test_no_load_and_no_limit_overwrites_the_envelope(name):
    async with mlxwire.Worker(engine="mock", restart=mlxwire.RestartPolicy()) as worker:
        pid = worker.pid
        model = await worker.load("any")
        for _ in range(5):
            await refused(lambda: worker.load("other", **{name: "classify"}), name)
            await refused(lambda: worker.memory(**{name: "quit"}), name)
        await refused(lambda: worker.cancel(5), "request_id")
        assert await model.generate("a b").text() == "a b"
        assert worker.pid == pid


def test_a_blocking_call_and_a_pool_refuse_the_envelope_too():
    with sync.Pool(engine="mock") as pool:
        with pytest.raises(mlxwire.InvalidParams, match="`id`"):
            pool.load("any", id="x")  # type: ignore[call-arg]
        model = pool.load("any")
        for name in ("id", "cmd", "window", "stream"):
            with pytest.raises(mlxwire.InvalidParams, match=f"`{name}`"):
                model.chat("hi", **{name: "x"})
            with pytest.raises(mlxwire.InvalidParams, match=f"`{name}`"):
                model.batch(["a"], **{name: "classify"})
        assert model.generate("a").text() == "a"


@pytest.mark.parametrize("value", [NAN, INF, -INF])
async def test_a_number_that_json_does_not_have_is_not_sent_as_null(memory, value):
    worker = await memory()
    for name, given in (
        ("temperature", value),
        ("deadline_seconds", value),
        ("logit_bias", {1: value}),
    ):
        await refused(lambda n=name, g=given: worker.model.generate("p", **{n: g}).text(), name)
    assert worker.process.requests == []


@pytest.mark.parametrize("value", WRONG_SECONDS)
@pytest.mark.parametrize("name", ["timeout", "idle_timeout"])
async def test_a_time_of_a_request_is_refused_before_it_is_sent(memory, name, value):
    worker = await memory()
    given = {name: value}
    for make in (
        lambda: worker.model.generate("p", **given),
        lambda: worker.model.chat("p", **given),
        lambda: worker.model.batch(["p"], **given),
        lambda: worker.model.classify(["p"], **given),
        lambda: worker.model.embed(["p"], **given),
        lambda: worker.model.score(["p"], **given),
    ):
        await refused(make, name)
    if name == "timeout":
        await refused(lambda: worker.model.info(timeout=value), name)
        await refused(lambda: worker.model.tokenize("p", timeout=value), name)
        await refused(lambda: worker.model.render("p", timeout=value), name)
        await refused(lambda: worker.model.rerank("p", ["d"], timeout=value), name)
        await refused(lambda: worker.model.fit(timeout=value), name)
        await refused(lambda: worker.model.cache.stats(timeout=value), name)
    assert worker.process.requests == []


@pytest.mark.parametrize("value", WRONG_SECONDS)
@pytest.mark.parametrize(
    "name",
    ["start_timeout", "request_timeout", "idle_timeout", "drain_timeout", "unload_after"],
)
async def test_a_time_of_a_worker_is_refused_before_it_is_started(name, value):
    policy = mlxwire.RestartPolicy()
    await refused(lambda: mlxwire.Worker(restart=policy, **{name: value}), name)
    await refused(lambda: sync.Worker(restart=policy, **{name: value}), name)
    await refused(lambda: mlxwire.Pool(**{name: value}), name)


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        (mlxwire.RestartPolicy, "max_restarts", [-1, NAN, 1.5, "3", True]),
        (mlxwire.RestartPolicy, "window", [0, *WRONG_SECONDS]),
        (mlxwire.RestartPolicy, "backoff_min", WRONG_SECONDS),
        (mlxwire.RestartPolicy, "backoff_max", WRONG_SECONDS),
        (mlxwire.RestartPolicy, "jitter", [-0.1, 1.1, NAN]),
        (mlxwire.LivenessLimits, "silence", [0, *WRONG_SECONDS]),
        (mlxwire.LivenessLimits, "step", [0, *WRONG_SECONDS]),
        (mlxwire.ShutdownLimits, "quit", WRONG_SECONDS),
        (mlxwire.ShutdownLimits, "close_stdin", WRONG_SECONDS),
        (mlxwire.ShutdownLimits, "terminate", WRONG_SECONDS),
        (mlxwire.ShutdownLimits, "kill", WRONG_SECONDS),
        (mlxwire.Worker, "buffer_bytes", [-1, 1.5, NAN, "1", True]),
        (mlxwire.Worker, "args", ["--x", b"--x", 5, [5], {"--x": 1}]),
        (mlxwire.Worker, "require", ["window", [1]]),
        (mlxwire.Worker, "events", ["heartbeat", [None]]),
        (mlxwire.Worker, "command", [5, b"worker", {"python": 1}, ["python", 5]]),
        (mlxwire.Worker, "engine", [5, ["mock"]]),
        (mlxwire.Worker, "env", [5, "A=1", ["A=1"]]),
        (mlxwire.Worker, "cwd", [5, ["."]]),
        (mlxwire.Worker, "restart", [True, False, 3, {}, mlxwire.RestartPolicy]),
        (mlxwire.Worker, "liveness", [True, 30, {}, "off"]),
        (mlxwire.Worker, "shutdown", [0, 5, {}]),
        (mlxwire.Pool, "restart", [True, {}]),
        (mlxwire.Pool, "byte_budget", [-1, NAN, 1.5]),
        (mlxwire.Pool, "patience", WRONG_SECONDS),
    ],
)
async def test_a_value_that_means_nothing_is_refused(kind, name, values):
    for value in values:
        await refused(lambda given=value: kind(**{name: given}), name)


@pytest.mark.parametrize("variables", [{"A": 1}, {"A": None}, {5: "x"}])
async def test_a_variable_that_is_no_string_is_named(variables):
    (name,) = variables
    with pytest.raises(
        mlxwire.InvalidParams, match=r"`env\[.*\]` is .*dict of strings"
    ) as caught:
        mlxwire.Worker(env=variables)
    assert caught.value.data["field"] == f"env[{name!r}]"


async def test_a_phase_without_a_sensible_limit_is_refused():
    with pytest.raises(mlxwire.InvalidParams, match="prefill"):
        mlxwire.LivenessLimits(phases={"prefill": 0})


async def test_an_idle_time_out_of_zero_is_never(memory):
    worker = await memory(idle_timeout=0)
    collecting = asyncio.create_task(worker.model.generate("p", idle_timeout=0).text())
    request_id = (await worker.process.request("generate"))["id"]
    for _ in range(50):
        await asyncio.sleep(0)
    worker.tokens(request_id, "a")
    worker.done(request_id)
    assert await collecting == "a"


async def test_unused_for_zero_seconds_is_never():
    policy = mlxwire.RestartPolicy()
    async with mlxwire.Worker(engine="mock", restart=policy, unload_after=0) as worker:
        pid = worker.pid
        model = await worker.load("any")
        assert await model.generate("a").text() == "a"
        assert (worker.pid, worker.state) == (pid, "ready")


async def ask_until_it_fails(worker: mlxwire.Worker) -> None:
    while True:
        await worker.metrics()


async def test_the_worker_is_not_restarted_at_all_with_zero_restarts():
    policy = mlxwire.RestartPolicy(max_restarts=0)
    async with mlxwire.Worker(engine="mock", restart=policy) as worker:
        await worker.load("any")
        worker._child.connection.process.signal_group(9)
        with pytest.raises(mlxwire.WorkerCrashed):
            await ask_until_it_fails(worker)
        with pytest.raises(mlxwire.WorkerCrashed, match="is not started again"):
            await worker.metrics()


async def plain_async(_: object) -> None: ...


class CalledAsync:
    async def __call__(self, _: object) -> None: ...


@pytest.mark.parametrize(
    "callback", [plain_async, functools.partial(plain_async), CalledAsync(), 5, "name"]
)
async def test_a_callback_that_nothing_would_await_is_refused(memory, callback):
    worker = await memory()
    model = worker.model
    await refused(lambda: model.batch(["p"], on_token=callback), "on_token")
    for make in (
        lambda: model.generate("p", on_progress=callback),
        lambda: model.chat("p", on_progress=callback),
        lambda: model.batch(["p"], on_progress=callback),
        lambda: model.classify(["p"], on_progress=callback),
        lambda: model.embed(["p"], on_progress=callback),
        lambda: model.score(["p"], on_progress=callback),
        lambda: mlxwire.Worker().load("p", on_progress=callback),
    ):
        await refused(make, "on_progress")
    policy = mlxwire.RestartPolicy()
    for name in ("on_stderr", "on_event", "on_change"):
        await refused(lambda n=name: mlxwire.Worker(restart=policy, **{n: callback}), name)
    await refused(lambda: mlxwire.Pool(on_change=callback), "on_change")
    assert worker.process.requests == []


async def test_a_callback_that_returns_a_coroutine_is_told_of(memory):
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    worker = await memory()
    collecting = asyncio.create_task(
        worker.model.generate("p", on_progress=lambda report: plain_async(report)).text()
    )
    request_id = (await worker.process.request("generate"))["id"]
    worker.reply(request_id, type="progress", stage="prefill", done=1, total=2)
    worker.done(request_id)
    await collecting
    assert "coroutine" in str(told[0]["exception"])


@pytest.mark.parametrize("command", ["batch", "classify"])
async def test_a_batch_and_a_classify_report_their_progress(memory, command):
    worker = await memory()
    heard: list[Any] = []
    if command == "batch":
        asking = worker.model.batch(["p", "q"], on_progress=heard.append).results()
    else:
        asking = worker.model.classify(["p", "q"], on_progress=heard.append)
    waiting = asyncio.create_task(asking)
    request_id = (await worker.process.request(command))["id"]
    worker.reply(request_id, type="progress", stage="prefill", done=1, total=2)
    answer = {"token": "a", "token_id": 1, "logprob": 0.0}
    if command == "batch":
        figures = {"token_ids": [], "tokens_generated": 0}
        answer = {"text": "a", "finish_reason": "stop", "error": None, **figures}
    worker.reply(request_id, type="item", index=1, **answer)
    worker.done(request_id)
    await waiting
    reports = [(report.stage, report.done, report.total) for report in heard]
    assert reports == [("prefill", 1, 2), ("prompts", 1, 2)]
