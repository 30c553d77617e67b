"""What `tokenize`, `tokenize_chat` and `detokenize` send, and what they make of the answers."""

from __future__ import annotations

import asyncio

import pytest

import mlxwire
from mlxwire_protocol.chat.turns import CalledFunction, Message, TextPart, TurnCall

TURNS = [{"role": "user", "content": "a b"}]
TOKENS = {"ids": [1, 20, 21], "count": 3, "pieces": ["<s>", "a", " b"]}
TOOLS = [{"type": "function", "function": {"name": "add"}}]
COUNT = {"ids": None, "count": 3, "pieces": None}


@pytest.mark.parametrize(
    ("ask", "sent", "answer"),
    [
        (lambda m: m.tokenize("a b"), {"text": "a b"}, TOKENS),
        (
            lambda m: m.tokenize("", special_tokens=False),
            {"text": "", "special_tokens": False},
            TOKENS,
        ),
        (
            lambda m: m.tokenize("a b", count_only=True),
            {"text": "a b", "count_only": True},
            COUNT,
        ),
        (lambda m: m.tokenize_chat("a b"), {"messages": TURNS}, TOKENS),
        (
            lambda m: m.tokenize_chat(
                TURNS, thinking=False, special_tokens=True, tools=TOOLS, count_only=True
            ),
            {
                "messages": TURNS,
                "thinking": False,
                "special_tokens": True,
                "tools": TOOLS,
                "count_only": True,
            },
            COUNT,
        ),
        (lambda m: m.tokenize_chat([]), {"messages": []}, TOKENS),
    ],
)
async def test_only_the_options_that_were_given_are_sent(memory, ask, sent, answer):
    worker = await memory()
    asking = asyncio.create_task(ask(worker.model))
    request = await worker.process.request("tokenize")
    worker.reply(request["id"], type="result", final=True, **answer)
    assert request == {"id": request["id"], "cmd": "tokenize", **sent}
    assert await asking == mlxwire.Tokenized(**answer)


@pytest.mark.parametrize("ids", [[20, 21], (20, 21), []])
async def test_detokenize_returns_the_text(memory, ids):
    worker = await memory()
    asking = asyncio.create_task(worker.model.detokenize(ids))
    request = await worker.process.request("detokenize")
    worker.reply(request["id"], type="result", final=True, text="a b")
    assert request == {"id": request["id"], "cmd": "detokenize", "ids": [*ids]}
    assert await asking == "a b"


@pytest.mark.parametrize(
    ("command", "ask", "answer"),
    [
        ("tokenize", lambda m: m.tokenize("a"), {"ids": [1], "pieces": ["a"]}),
        ("detokenize", lambda m: m.detokenize([1]), {"text": 1}),
    ],
)
async def test_a_malformed_answer_is_a_protocol_violation(memory, command, ask, answer):
    worker = await memory()
    asking = asyncio.create_task(ask(worker.model))
    request = await worker.process.request(command)
    worker.reply(request["id"], type="result", final=True, **answer)
    with pytest.raises(mlxwire.ProtocolViolation, match="`result` is malformed"):
        await asking


async def test_a_request_that_takes_too_long_times_out(memory):
    worker = await memory()
    with pytest.raises(mlxwire.RequestTimeout):
        await worker.model.tokenize("a", timeout=0)


async def test_a_conversation_to_tokenize_is_checked_as_for_chat(memory):
    worker = await memory()
    with pytest.raises(mlxwire.InvalidParams, match="give `messages` as"):
        await worker.model.tokenize_chat(["hi"])


async def test_turns_of_the_protocols_type_are_sent_with_what_is_set_in_them(memory):
    call = TurnCall(id="c1", function=CalledFunction(name="add", arguments={"a": 1}))
    turns = [
        Message(role="assistant", tool_calls=[call], reasoning_content="hm"),
        Message(role="tool", content=[TextPart(text="2")], tool_call_id="c1"),
    ]
    worker = await memory()
    asking = asyncio.create_task(worker.model.tokenize_chat(turns))
    request = await worker.process.request("tokenize")
    worker.reply(request["id"], type="result", final=True, **TOKENS)
    await asking

    assert request["messages"] == [
        {
            "role": "assistant",
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "add", "arguments": {"a": 1}},
                }
            ],
        },
        {"role": "tool", "content": [{"type": "text", "text": "2"}], "tool_call_id": "c1"},
    ]
