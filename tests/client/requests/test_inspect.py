"""`inspect` sends its options, and converts the answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import mlxwire

TOLD = {
    "path": "/f.safetensors",
    "model_type": "m",
    "layers": [1],
    "heads": 1,
    "query_heads": 2,
    "head_dim": 4,
    "tokens": 3,
}


@pytest.mark.parametrize(
    ("options", "sent"), [({}, {}), ({"layers": (1,)}, {"layers": [1]})], ids=str
)
async def test_inspect_names_the_file_and_its_layers(memory, options, sent):
    worker = await memory()
    asking = asyncio.create_task(worker.model.inspect("a b", Path("/f.safetensors"), **options))
    request = await worker.process.request("inspect")
    worker.reply(request["id"], type="result", final=True, **TOLD)
    wanted = {"cmd": "inspect", "prompt": "a b", "path": "/f.safetensors"}
    assert request == {"id": request["id"], **wanted, **sent}
    assert await asking == mlxwire.Inspected(**TOLD)
