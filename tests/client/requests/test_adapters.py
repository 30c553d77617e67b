"""Adapters by name: their commands, and the option of the requests that use one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import mlxwire

POET = {
    "name": "poet",
    "path": "/a",
    "format": "peft",
    "method": "dora",
    "rank": 8,
    "scale": 2.0,
    "modules": 3,
    "parameters": 96,
    "bytes": 384,
}


@pytest.mark.parametrize(
    ("call", "sent"),
    [
        (
            lambda model: model.load_adapter("poet", Path("/a")),
            {"action": "load", "name": "poet", "path": "/a"},
        ),
        (
            lambda model: model.unload_adapter("poet"),
            {"action": "unload", "name": "poet"},
        ),
        (lambda model: model.adapters(), {"action": "list"}),
    ],
    ids=["load", "unload", "list"],
)
async def test_each_call_sends_its_action_and_returns_all_adapters(memory, call, sent):
    worker = await memory()
    asking = asyncio.create_task(call(worker.model))
    request = await worker.process.request("adapter")
    worker.reply(request["id"], type="result", final=True, adapters=[POET])
    assert request == {"id": request["id"], "cmd": "adapter", **sent}
    assert await asking == [mlxwire.AdapterInfo(**POET)]


@pytest.mark.parametrize(
    ("command", "call"),
    [
        ("generate", lambda model: model.generate("a", adapter="poet").text()),
        ("chat", lambda model: model.chat("a", adapter="poet").text()),
        ("batch", lambda model: model.batch(["a"], adapter="poet").results()),
        ("classify", lambda model: model.classify(["a"], adapter="poet")),
        ("cache", lambda model: model.cache.warm("a", adapter="poet")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_request_names_its_adapter(memory, command, call):
    worker = await memory()
    asking = asyncio.create_task(call(worker.model))
    request = await worker.process.request(command)
    assert request["adapter"] == "poet"
    worker.error(request["id"], "invalid_params", field="adapter")
    with pytest.raises(mlxwire.InvalidParams) as caught:
        await asking
    assert caught.value.field == "adapter"
