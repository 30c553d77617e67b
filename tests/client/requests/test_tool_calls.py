"""Thoughts and tool calls of an answer, over a worker in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

import mlxwire
from mlxwire.options import chat_messages
from support.memory_worker import MemoryWorker

Memory = Callable[..., Awaitable[MemoryWorker]]
TOOLS = [{"type": "function", "function": {"name": "weather"}}]
CALLS = [
    {
        "index": 0,
        "call_id": "c1",
        "name": "weather",
        "arguments": '{"city":"Oslo"}',
        "arguments_error": None,
    },
    {"index": 1, "call_id": "c2", "name": "x", "arguments": "{}", "arguments_error": "bad"},
]


def say(worker: MemoryWorker, request_id: str, seq: int, text: str, **more: Any) -> None:
    worker.reply(request_id, type="token", seq=seq, token=text, token_id=5, **more)


def answer(worker: MemoryWorker, request_id: str, *, end: bool = True) -> None:
    """Send a thought, a text and a call, as a worker does."""
    say(worker, request_id, 0, "hm", channel="thinking")
    say(worker, request_id, 1, "So")
    say(worker, request_id, 2, ".", flush=True)
    say(worker, request_id, 3, "")
    worker.reply(request_id, type="tool_call", seq=4, index=0, call_id="c1", name="weather")
    worker.reply(request_id, type="tool_call", seq=5, index=0, arguments='{"city":')
    say(worker, request_id, 6, "")
    worker.reply(request_id, type="tool_call", seq=7, index=0, arguments='"Oslo"}')
    if end:
        worker.done(request_id, "tool_calls", tool_calls=CALLS, tool_error=None)


async def test_parts_of_a_call_come_among_the_tokens(memory: Memory) -> None:
    worker = await memory()
    stream = worker.model.chat("x", tools=TOOLS)
    taking = asyncio.create_task(stream.take_all())
    answer(worker, (await worker.process.request("chat"))["id"])
    tokens = await taking

    parts = [token.tool_call for token in tokens if token.tool_call is not None]
    assert [(p.index, p.call_id, p.name, p.arguments) for p in parts] == [
        (0, "c1", "weather", ""),
        (0, "c1", None, '{"city":'),
        (0, "c1", None, '"Oslo"}'),
    ]
    assert [token.seq for token in tokens] == list(range(8))
    assert "".join(token.text for token in tokens if token.channel is None) == "So."
    assert all((t.text, t.channel, t.flush, t.id) == ("", None, True, -1) for t in tokens if t.tool_call)  # fmt: skip


@pytest.mark.parametrize("taken", [0, 3, 8])
async def test_the_whole_answer_can_be_asked_for_in_any_order(
    memory: Memory, taken: int
) -> None:
    worker = await memory()
    async with worker.model.chat("x", tools=TOOLS) as stream:
        answer(worker, (await worker.process.request("chat"))["id"])
        for _ in range(taken):
            await anext(stream)
        for _ in range(2):
            assert await stream.thoughts() == "hm"
            assert await stream.text() == "So."
            assert [call.call_id for call in await stream.calls()] == ["c1", "c2"]
        assert await stream.message() == {
            "role": "assistant",
            "content": "So.",
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "id": call["call_id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for call in CALLS
            ],
        }


async def test_calls_have_their_arguments_parsed_and_their_error(memory: Memory) -> None:
    worker = await memory()
    stream = worker.model.chat("x", tools=TOOLS)
    with pytest.raises(RuntimeError, match="not ended"):
        _ = stream.tool_calls
    asking = asyncio.create_task(stream.calls())
    answer(worker, (await worker.process.request("chat"))["id"])
    first, second = await asking

    assert (first.name, first.parsed(), first.arguments_error) == (
        "weather",
        {"city": "Oslo"},
        None,
    )
    assert second.arguments_error == "bad"
    assert stream.tool_calls == [first, second]
    assert stream.tool_error is None
    assert stream.done.finish_reason == "tool_calls"


async def test_a_call_that_failed_is_told(memory: Memory) -> None:
    worker = await memory()
    stream = worker.model.chat("x", tools=TOOLS)
    asking = asyncio.create_task(stream.message())
    request_id = (await worker.process.request("chat"))["id"]
    say(worker, request_id, 0, "<tool_call>oops")
    error = {"index": None, "message": "no JSON", "text": "<tool_call>oops", "cut_off": False}
    worker.done(request_id, tool_calls=[], tool_error=error)

    assert await asking == {"role": "assistant", "content": "<tool_call>oops"}
    assert stream.tool_error is not None
    assert stream.tool_error.message == "no JSON"


async def test_an_answer_that_is_a_call_alone_has_no_content(memory: Memory) -> None:
    worker = await memory()
    stream = worker.model.chat("x", tools=TOOLS)
    asking = asyncio.create_task(stream.message())
    request_id = (await worker.process.request("chat"))["id"]
    worker.done(request_id, "tool_calls", tool_calls=CALLS[:1], tool_error=None)

    assert (await asking)["content"] is None


async def test_what_is_no_token_is_not_counted_as_delivered(memory: Memory) -> None:
    worker = await memory()
    stream = worker.model.chat("x", tools=TOOLS)
    taking = asyncio.create_task(stream.take_all())
    answer(worker, (await worker.process.request("chat"))["id"], end=False)
    worker.process.die(1)
    with pytest.raises(mlxwire.WorkerCrashed) as caught:
        await taking
    assert caught.value.tokens_delivered == 4
    assert len(caught.value.results) == 8


async def test_parts_of_calls_use_up_the_window(memory: Memory) -> None:
    worker = await memory(buffer_bytes=256 * 4, capabilities={"window": True})
    async with worker.model.chat("x", tools=TOOLS) as stream:
        request = await worker.process.request("chat")
        worker.reply(request["id"], type="tool_call", seq=0, index=0, call_id="c", name="f")
        for seq in range(1, 4):
            worker.reply(request["id"], type="tool_call", seq=seq, index=0, arguments=" ")
        for _ in range(4):
            await anext(stream)
        grants = [await worker.process.request("credit") for _ in range(2)]
        worker.done(request["id"], tool_calls=[], tool_error=None)
    assert request["window"] == 4
    assert [grant["n"] for grant in grants] == [2, 2]


async def test_arguments_of_a_call_that_did_not_begin_are_a_violation(memory: Memory) -> None:
    worker = await memory()
    asking = asyncio.create_task(worker.model.chat("x", tools=TOOLS).text())
    request_id = (await worker.process.request("chat"))["id"]
    worker.reply(request_id, type="tool_call", seq=0, index=0, arguments="{}")
    with pytest.raises(mlxwire.ProtocolViolation, match="had not begun"):
        await asking


async def test_thoughts_of_a_plain_chat_may_be_asked_for_before_and_after_its_text(
    memory: Memory,
) -> None:
    worker = await memory()
    stream = worker.model.chat("x")
    asking = asyncio.create_task(stream.thoughts())
    request_id = (await worker.process.request("chat"))["id"]
    say(worker, request_id, 0, "hm", channel="thinking")
    say(worker, request_id, 1, "So.")
    worker.done(request_id)

    assert await asking == "hm"
    assert (await stream.text(), await stream.thoughts()) == ("So.", "hm")
    assert await stream.calls() == []


def test_a_message_keeps_its_calls_and_results() -> None:
    turns = [
        {"role": "assistant", "tool_calls": [{"function": {"name": "f"}, "id": "c"}]},
        {"role": "tool", "content": "1", "tool_call_id": "c"},
    ]
    messages = [msgspec.convert(turn, mlxwire.Message) for turn in turns]
    first, second = chat_messages(messages)
    assert first["tool_calls"][0]["id"] == "c"
    assert second == turns[1]
