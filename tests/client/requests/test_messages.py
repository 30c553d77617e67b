"""Messages that are no conversation are refused by name, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

import mlxwire

NONE_OF_THEM = [
    (None, "messages", "NoneType"),
    (5, "messages", "int"),
    ({"role": "user", "content": "x"}, "messages", "dict"),
    (["hi"], "messages[0]", "str"),
    ([{"role": "user", "content": "x"}, None], "messages[1]", "NoneType"),
]


@pytest.mark.parametrize(("messages", "field", "kind"), NONE_OF_THEM)
async def test_what_is_no_conversation_is_named(
    memory: Any, messages: Any, field: str, kind: str
):
    worker = await memory()
    with pytest.raises(mlxwire.InvalidParams, match=f"is of type {kind}: give") as caught:
        worker.model.chat(messages)
    assert caught.value.data == {"field": field}


async def test_a_prompt_to_warm_is_held_to_the_same(memory: Any):
    worker = await memory()
    with pytest.raises(mlxwire.InvalidParams, match="give `messages` as"):
        await worker.model.cache.warm(messages=["hi"])
