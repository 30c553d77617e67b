"""`run_tools`: functions answer the model's calls until it calls no more."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import mlxwire
import mlxwire.sync
from support.memory_worker import MemoryWorker

Memory = Callable[..., Awaitable[MemoryWorker]]
DONE = {"tool_error": None}


def call(
    number: int, name: str, arguments: str = "{}", error: str | None = None
) -> dict[str, Any]:
    return {
        "index": number,
        "call_id": f"c{number}",
        "name": name,
        "arguments": arguments,
        "arguments_error": error,
    }


async def round_of(worker: MemoryWorker, *calls: dict[str, Any], text: str = "") -> Any:
    """Answer the next request with calls, or with a text; return the request."""
    request = await worker.process.request("chat")
    if text:
        worker.tokens(request["id"], text)
    reason = "tool_calls" if calls else "stop"
    worker.done(request["id"], reason, tool_calls=[*calls], **DONE)
    return request


async def failed_round_of(
    worker: MemoryWorker, *calls: dict[str, Any], cut_off: bool = False
) -> Any:
    """Answer the next request with a call that did not become whole, after whole ones."""
    request = await worker.process.request("chat")
    worker.tokens(request["id"], "Let me <call>" if not cut_off else "Let me")
    error = {"index": None, "message": "it has no name", "text": "<call>", "cut_off": cut_off}
    reason = "length" if cut_off else "tool_calls" if calls else "stop"
    worker.done(request["id"], reason, tool_calls=[*calls], tool_error=error)
    return request


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def slow_add(a: int, b: int) -> str:
    """Add two numbers."""
    return f"{a + b}!"


def fail() -> None:
    """Fail."""
    raise LookupError("no such thing")


async def test_results_go_back_until_the_model_answers(memory: Memory) -> None:
    worker = await memory()
    heard: list[str] = []
    running = asyncio.create_task(
        mlxwire.run_tools(
            worker.model,
            "sum",
            [add, slow_add],
            temperature=0.5,
            on_token=lambda token: heard.append(token.text),
            on_call=lambda call: heard.append(call.call_id),
            on_result=lambda result: heard.append(result.content),
        )
    )
    first = await round_of(
        worker, call(0, "add", '{"a":1,"b":2}'), call(1, "slow_add", '{"a":1,"b":1}'), text="So"
    )
    second = await round_of(worker, text="3 and 2")
    answer = await running

    assert [tool["function"]["name"] for tool in first["tools"]] == ["add", "slow_add"]
    assert first["temperature"] == second["temperature"] == 0.5
    assert second["messages"] == answer.messages[:-1]
    assert [turn["role"] for turn in answer.messages] == ["user", "assistant", "tool", "tool", "assistant"]  # fmt: skip
    assert answer.messages[1]["content"] == "So"
    assert [turn["content"] for turn in answer.messages[2:4]] == ["3", "2!"]
    assert [turn["tool_call_id"] for turn in answer.messages[2:4]] == ["c0", "c1"]
    assert (answer.text, answer.rounds) == ("3 and 2", 2)
    assert (heard[0], heard[-1]) == ("So", "3 and 2")
    assert sorted(heard[1:-1]) == ["2!", "3", "c0", "c1"]


async def test_async_functions_of_one_answer_run_together(memory: Memory) -> None:
    worker = await memory()
    both = asyncio.Barrier(2)

    async def meet() -> str:
        await both.wait()
        return "met"

    running = asyncio.create_task(mlxwire.run_tools(worker.model, "x", [meet]))
    await round_of(worker, call(0, "meet"), call(1, "meet"))
    await round_of(worker, text="ok")
    assert [turn["content"] for turn in (await running).messages[2:4]] == ["met", "met"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (call(0, "nothing"), "no tool 'nothing'; the tools are: add, fail"),
        (call(0, "add", "{}", "`a` is required"), "`a` is required"),
        (call(0, "add", '{"a": 1, "b": "x"}'), "Expected `int`"),
        (call(0, "fail"), "error: LookupError: no such thing"),
    ],
)
async def test_the_model_is_told_what_went_wrong(
    memory: Memory, wrong: dict[str, Any], words: str
) -> None:
    worker = await memory()
    running = asyncio.create_task(mlxwire.run_tools(worker.model, "x", [add, fail]))
    await round_of(worker, wrong)
    second = await round_of(worker, text="sorry")

    assert words in second["messages"][2]["content"]
    assert (await running).text == "sorry"


async def test_a_call_that_can_not_be_read_is_told_in_a_turn_of_the_user(
    memory: Memory,
) -> None:
    worker = await memory()
    running = asyncio.create_task(mlxwire.run_tools(worker.model, "x", [add, fail]))
    await failed_round_of(worker)
    second = await round_of(worker, text="sorry")
    answer = await running

    told = "error: a tool call was not run: it has no name; the tools are: add, fail"
    assert second["messages"][1:] == [
        {"role": "assistant", "content": "Let me <call>"},
        {"role": "user", "content": told},
    ]
    assert (answer.text, answer.rounds) == ("sorry", 2)


async def test_a_call_that_can_not_be_read_is_told_with_the_results_of_others(
    memory: Memory,
) -> None:
    worker = await memory()
    running = asyncio.create_task(mlxwire.run_tools(worker.model, "x", [add]))
    await failed_round_of(worker, call(0, "add", '{"a":1,"b":2}'))
    second = await round_of(worker, text="3")
    await running

    _, result = second["messages"][1:]
    assert result["role"] == "tool"
    assert result["content"].startswith("3\n\nerror: a tool call was not run: it has no name;")


async def test_calls_that_can_not_be_read_count_as_rounds(memory: Memory) -> None:
    worker = await memory()
    running = asyncio.create_task(mlxwire.run_tools(worker.model, "x", [add], max_rounds=1))
    await failed_round_of(worker)
    with pytest.raises(mlxwire.TooManyRounds, match="in round 1, the last") as caught:
        await running
    assert caught.value.messages[-1]["role"] == "user"


async def test_a_call_that_was_cut_off_raises_and_runs_nothing(memory: Memory) -> None:
    worker = await memory()
    ran: list[int] = []
    running = asyncio.create_task(
        mlxwire.run_tools(worker.model, "x", [add], on_call=lambda call: ran.append(call.index))
    )
    await failed_round_of(worker, call(0, "add", '{"a":1,"b":2}'), cut_off=True)
    with pytest.raises(
        mlxwire.CallCutOff, match="`max_tokens` cut the model's tool call"
    ) as caught:
        await running

    error = caught.value
    assert "or set `parallel_tool_calls` to False" in error.message
    assert (error.text, error.finish_reason, ran) == ("Let me", "length", [])
    assert error.messages == [{"role": "user", "content": "x"}]
    assert error.done is not None
    assert error.done.tool_error is not None
    assert error.done.tool_error.text == "<call>"
    assert [whole.name for whole in error.done.tool_calls] == ["add"]
    assert pickle.loads(pickle.dumps(error)).messages == error.messages


async def test_an_exception_is_raised_if_that_is_asked_for(memory: Memory) -> None:
    worker = await memory()
    running = asyncio.create_task(
        mlxwire.run_tools(worker.model, "x", [fail, slow_add], raise_errors=True)
    )
    await round_of(worker, call(0, "fail"), call(1, "slow_add", '{"a":1,"b":1}'))
    with pytest.raises(LookupError, match="no such thing"):
        await running


async def test_too_many_rounds_raise_with_a_conversation_that_can_go_on(memory: Memory) -> None:
    worker = await memory()
    running = asyncio.create_task(mlxwire.run_tools(worker.model, "x", [add], max_rounds=2))
    for _ in range(2):
        await round_of(worker, call(0, "add", '{"a":1,"b":2}'))
    with pytest.raises(mlxwire.TooManyRounds, match="in round 2, the last") as caught:
        await running
    assert [turn["role"] for turn in caught.value.messages] == [
        *("user", "assistant", "tool", "assistant", "tool")
    ]


@pytest.mark.parametrize(
    ("choice", "later"), [("required", None), ("add", None), ("auto", "auto")]
)
async def test_a_forced_call_is_forced_once(
    memory: Memory, choice: str, later: str | None
) -> None:
    worker = await memory()
    running = asyncio.create_task(
        mlxwire.run_tools(worker.model, "x", [add], tool_choice=choice)
    )
    first = await round_of(worker, call(0, "add", '{"a":1,"b":2}'))
    second = await round_of(worker, text="3")
    await running
    assert (first["tool_choice"], second.get("tool_choice")) == (choice, later)


async def test_leaving_cancels_the_request(memory: Memory) -> None:
    worker = await memory()
    running = asyncio.create_task(mlxwire.run_tools(worker.model, "x", [add]))
    request = await worker.process.request("chat")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await worker.process.request("cancel"))["target"] == request["id"]


async def test_leaving_cancels_an_async_function(memory: Memory) -> None:
    worker = await memory()
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(mlxwire.run_tools(worker.model, "x", [wait]))
    await round_of(worker, call(0, "wait"))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()


async def test_a_timeout_holds_for_the_whole_run(memory: Memory) -> None:
    worker = await memory()

    async def wait() -> None:
        await asyncio.Event().wait()

    running = asyncio.create_task(mlxwire.run_tools(worker.model, "x", [wait], timeout=0.05))
    await round_of(worker, call(0, "wait"))
    with pytest.raises(mlxwire.RequestTimeout, match="round 1"):
        await running


async def test_a_value_that_json_cannot_hold_is_told(memory: Memory) -> None:
    worker = await memory()

    def odd() -> object:
        return object()

    running = asyncio.create_task(mlxwire.run_tools(worker.model, "x", [odd]))
    await round_of(worker, call(0, "odd"))
    second = await round_of(worker, text="ok")
    await running
    assert "JSON can't hold" in second["messages"][2]["content"]


@pytest.mark.parametrize(
    ("tools", "options", "kind", "words"),
    [
        ([add, add], {}, TypeError, "two tools have the name 'add'"),
        (add, {}, TypeError, "give a list"),
        (mlxwire.Tool(add), {}, TypeError, "`tools` is of type Tool: give a list"),
        (None, {}, TypeError, "`tools` is of type NoneType: give a list"),
        ([add], {"max_rounds": 0}, mlxwire.InvalidParams, "max_rounds"),
        ([add], {"response_model": int}, mlxwire.InvalidParams, "response_model"),
        ([add], {"on_token": 3}, mlxwire.InvalidParams, "on_token"),
    ],
)
async def test_what_can_not_work_is_refused_before_anything_is_sent(
    memory: Memory, tools: Any, options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    worker = await memory()
    with pytest.raises(kind, match=words):
        await mlxwire.run_tools(worker.model, "x", tools, **options)
    assert worker.process.requests == []


def test_the_blocking_face_runs_functions_in_the_calling_thread() -> None:
    threads: list[threading.Thread] = []

    def here(city: str) -> str:
        """Tell the thread."""
        threads.append(threading.current_thread())
        return model.generate(f"in {city}").text()

    async def there() -> str:
        """Tell nothing."""
        return "there"

    written = '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>'
    with mlxwire.sync.Worker(engine="mock") as worker:
        model = worker.load("testdata/tiny")
        asked = written % ("here", '{"city": "Oslo"}')
        answer = mlxwire.sync.run_tools(model, asked, [here], max_tokens=99)
        other = mlxwire.sync.run_tools(model, written % ("there", "{}"), [there], max_tokens=99)

    assert (answer.text, answer.rounds) == ("in Oslo", 2)
    assert other.text == "there"
    assert threads == [threading.main_thread()]


def test_the_blocking_face_limits_rounds_and_raises_too() -> None:
    written = '<tool_call>\n{"name": "fail", "arguments": {}}\n</tool_call>'
    with mlxwire.sync.Worker(engine="mock") as worker:
        model = worker.load("testdata/tiny")
        with pytest.raises(LookupError):
            mlxwire.sync.run_tools(model, written, [fail], raise_errors=True, max_tokens=99)
        with pytest.raises(mlxwire.TooManyRounds):
            mlxwire.sync.run_tools(model, written, [fail], max_rounds=1, max_tokens=99)


def test_the_blocking_face_goes_on_after_a_call_that_can_not_be_run() -> None:
    unknown = '<tool_call>\n{"name": "nothing", "arguments": {}}\n</tool_call>'
    with mlxwire.sync.Worker(engine="mock") as worker:
        model = worker.load("testdata/tiny")
        answer = mlxwire.sync.run_tools(model, unknown, [fail], max_tokens=99)
        with pytest.raises(mlxwire.CallCutOff):
            mlxwire.sync.run_tools(model, unknown, [fail], max_tokens=3)

    assert "`nothing`" in answer.text
    assert (answer.rounds, answer.messages[2]["role"]) == (2, "user")


async def test_a_chat_takes_functions_and_tools_as_their_definitions(memory: Memory) -> None:
    worker = await memory()
    stream = worker.model.chat("x", tools=[add, mlxwire.Tool(fail), {"type": "function"}])
    running = asyncio.create_task(stream.calls())
    request = await round_of(worker, text="ok")
    await running

    assert request["tools"] == [
        mlxwire.Tool(add).definition,
        mlxwire.Tool(fail).definition,
        {"type": "function"},
    ]


@pytest.mark.parametrize("tools", [add, mlxwire.Tool(add), {"type": "function"}, "add"])
async def test_a_chat_refuses_a_tool_outside_of_a_list(memory: Memory, tools: Any) -> None:
    worker = await memory()
    with pytest.raises(mlxwire.InvalidParams, match="give a list of tools"):
        worker.model.chat("x", tools=tools)
