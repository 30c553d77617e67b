"""The requests about texts: what they send, and what their replies become."""

from __future__ import annotations

import asyncio
from array import array
from typing import Any

import pytest

import mlxwire
from support.memory_worker import MemoryWorker

FAILURE = {
    "code": "context_overflow",
    "message": "too long",
    "retryable": False,
    "data": {"limit": 4},
}
CLASSIFIED = {"token": "a", "token_id": 1, "logprob": -0.5}
ONE_AND_MINUS_TWO = "AACAPwAAAMA="
"""The float32 numbers 1 and -2, the least byte first, in base64."""
SCORED = {
    "token_ids": [3, 4],
    "pieces": ["a", " b"],
    "logprobs": [None, -0.5],
    "perplexity": 1.6,
}
METRICS = {"prompt_tokens": 7}


async def answered(
    worker: MemoryWorker, command: str, asking: Any, *items: dict[str, Any]
) -> tuple[dict[str, Any], Any]:
    """Answer a stream's request with items; return the request, and what the caller gets."""
    waiting = asyncio.create_task(asking)
    request = await worker.process.request(command)
    for item in items:
        worker.reply(request["id"], type="item", **item)
    worker.done(request["id"])
    return request, await waiting


async def told(
    worker: MemoryWorker, command: str, asking: Any, **result: Any
) -> tuple[dict[str, Any], Any]:
    """Answer a request with a result; return the request, and what the caller gets."""
    waiting = asyncio.create_task(asking)
    request = await worker.process.request(command)
    worker.reply(request["id"], type="result", final=True, **result)
    return request, await waiting


@pytest.mark.parametrize(
    ("command", "item"),
    [
        ("classify", CLASSIFIED),
        ("embed", {"embedding": ONE_AND_MINUS_TWO, "tokens": 2}),
        ("score", SCORED),
    ],
)
async def test_a_failed_item_has_its_error_and_fails_no_other(memory, command, item):
    worker = await memory()
    asking = getattr(worker.model, command)(["long", "b"])
    items = {"index": 1, **item}, {"index": 0, "error": FAILURE}
    _, results = await answered(worker, command, asking, *items)
    failed, whole = results
    assert [failed.index, whole.index] == [0, 1]
    assert isinstance(failed.error, mlxwire.ContextOverflow)
    assert (failed.error.message, failed.error.data) == ("too long", {"limit": 4})
    assert whole.error is None


async def test_the_label_of_a_result_is_its_likeliest(memory):
    worker = await memory()
    asking = worker.model.classify(["a", "b"], labels=["x", "y"])
    likely = {"index": 0, **CLASSIFIED, "labels": {"x": None, "y": 0.5}}
    _, results = await answered(worker, "classify", asking, likely, {"index": 1, **CLASSIFIED})
    assert [result.label for result in results] == ["y", None]


async def test_items_come_as_they_are_computed(memory):
    worker = await memory()
    stream = worker.model.classify(["a", "b"])
    first = asyncio.create_task(anext(stream))
    request = await worker.process.request("classify")
    worker.reply(request["id"], type="item", index=1, **CLASSIFIED)
    assert (await first).index == 1
    worker.reply(request["id"], type="item", index=0, **CLASSIFIED)
    worker.done(request["id"])
    assert [result.index async for result in stream] == [0]
    assert stream.done.finish_reason == "stop"
    assert worker.model.metrics == stream.done.metrics


async def test_a_stream_that_is_awaited_is_cancelled_with_its_task(memory):
    worker = await memory()
    waiting = asyncio.create_task(worker.model.score(["a"]))
    request = await worker.process.request("score")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await worker.process.request("cancel"))["target"] == request["id"]


async def test_a_stream_that_is_closed_as_a_coroutine_cancels_its_request(memory):
    worker = await memory()
    stream = worker.model.embed(["a"])
    stream.send(None)
    request = await worker.process.request("embed")
    stream.close()
    assert (await worker.process.request("cancel"))["target"] == request["id"]


TURN = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ("Hi", [[TURN]]),
        ([TURN], [[TURN]]),
        ([mlxwire.Message(role="user", content="Hi"), TURN], [[TURN, TURN]]),
        ([[TURN], [TURN, TURN]], [[TURN], [TURN, TURN]]),
        (["Hi", [TURN]], [[TURN], [TURN]]),
        ((), []),
    ],
)
async def test_a_classify_takes_one_conversation_or_several(memory, messages, sent):
    worker = await memory()
    asking = worker.model.classify(messages=messages, labels=["x"], separator=" ")
    request, _ = await answered(worker, "classify", asking)
    assert request["messages"] == sent
    assert "prompts" not in request
    assert (request["labels"], request["separator"]) == (["x"], " ")


@pytest.mark.parametrize("messages", [5, TURN, [5], [[TURN], 5]])
async def test_what_is_no_conversation_is_refused_before_it_is_sent(memory, messages):
    worker = await memory()
    with pytest.raises(mlxwire.InvalidParams, match="messages"):
        worker.model.classify(messages=messages)
    assert worker.process.requests == []


@pytest.mark.parametrize(
    ("stage", "ask"),
    [
        ("prompts", lambda model, tell: model.classify(["a", "b"], on_progress=tell)),
        ("messages", lambda model, tell: model.classify(messages=["a", "b"], on_progress=tell)),
    ],
)
async def test_progress_counts_the_items_of_a_classify(memory, stage, ask):
    worker = await memory()
    heard: list[mlxwire.Progress] = []
    items = {"index": 1, **CLASSIFIED}, {"index": 0, "error": FAILURE}
    await answered(worker, "classify", ask(worker.model, heard.append), *items)
    assert [(each.stage, each.done, each.total) for each in heard] == [
        (stage, 1, 2),
        (stage, 2, 2),
    ]


async def test_progress_counts_the_texts_of_an_embed(memory):
    worker = await memory()
    heard: list[mlxwire.Progress] = []
    asking = worker.model.embed(["a"], on_progress=heard.append)
    await answered(worker, "embed", asking, {"index": 0, "error": FAILURE})
    assert [(each.stage, each.done, each.total) for each in heard] == [("texts", 1, 1)]


async def test_an_embed_unpacks_its_vectors(memory):
    worker = await memory()
    item = {"index": 0, "embedding": ONE_AND_MINUS_TWO, "tokens": 2}
    asking = worker.model.embed(["a"], dimensions=2, normalize=False, pooling="mean")
    request, [embedding] = await answered(worker, "embed", asking, item)
    assert request["encoding_format"] == "base64"
    assert [request[name] for name in ("dimensions", "normalize", "pooling")] == [
        *(2, False, "mean")
    ]
    assert embedding.vector == array("f", [1.0, -2.0])
    assert embedding.tokens == 2
    _, vectors = await answered(worker, "embed", worker.model.embed([[1, 2]]).vectors(), item)
    assert vectors == [array("f", [1.0, -2.0])]


async def test_vectors_raise_the_error_of_a_text_that_failed(memory):
    worker = await memory()
    whole = {"index": 0, "embedding": ONE_AND_MINUS_TWO, "tokens": 2}
    asking = worker.model.embed(["a", "long"]).vectors()
    with pytest.raises(mlxwire.ContextOverflow) as caught:
        await answered(worker, "embed", asking, {"index": 1, "error": FAILURE}, whole)
    assert [embedding.index for embedding in caught.value.results] == [0, 1]


async def test_the_form_of_vectors_on_the_wire_is_no_option(memory):
    worker = await memory()
    with pytest.raises(mlxwire.InvalidParams, match="encoding_format"):
        worker.model.embed(["a"], encoding_format="float")
    assert worker.process.requests == []


@pytest.mark.parametrize(
    ("command", "item"),
    [
        ("embed", {"index": 0, "embedding": "A?==", "tokens": 1}),
        ("embed", {"index": 0, "embedding": "AAAA", "tokens": 1}),
        ("embed", {"index": 0, "embedding": [1.0], "tokens": 1}),
        ("embed", {"index": 0, "embedding": ONE_AND_MINUS_TWO}),
        ("score", {"index": 0, **SCORED, "logprobs": ["-0.5"]}),
        ("score", {"index": 0, "token_ids": [1], "pieces": ["a"], "logprobs": [None]}),
        ("classify", {"index": 0, **CLASSIFIED, "error": "too long"}),
        ("embed", {"index": 0, "error": {"message": "too long"}}),
        ("score", {"index": 1, **SCORED}),
    ],
)
async def test_an_item_that_can_not_be_read_is_a_violation(memory, command, item):
    worker = await memory()
    with pytest.raises(mlxwire.ProtocolViolation):
        await answered(worker, command, getattr(worker.model, command)(["a"]), item)


async def test_a_score_keeps_what_it_was_given(memory):
    worker = await memory()
    item = {"index": 0, **SCORED, "later": 1}
    asking = worker.model.score(["a b", [3, 4]], adapter="poet", deadline_seconds=5)
    request, [result] = await answered(worker, "score", asking, item)
    assert request["texts"] == ["a b", [3, 4]]
    assert (request["adapter"], request["deadline_seconds"]) == ("poet", 5)
    assert result == mlxwire.ScoreResult(index=0, **SCORED)


async def test_a_rerank_names_the_documents_by_score(memory):
    worker = await memory()
    best = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
    asking = worker.model.rerank("q", ("d", "e"), instruction="i", top_n=2)
    request, found = await told(worker, "rerank", asking, results=best, metrics=METRICS)
    assert {name: request[name] for name in ("query", "documents", "instruction", "top_n")} == {
        "query": "q",
        "documents": ["d", "e"],
        "instruction": "i",
        "top_n": 2,
    }
    assert [(each.index, each.relevance_score, each.document) for each in found] == [
        (1, 0.9, "e"),
        (0, 0.1, "d"),
    ]
    assert worker.model.metrics.prompt_tokens == 7


async def test_a_rerank_of_a_document_that_was_not_given_is_a_violation(memory):
    worker = await memory()
    stray = [{"index": 1, "relevance_score": 0.9}]
    asking = worker.model.rerank("q", ["d"])
    with pytest.raises(mlxwire.ProtocolViolation, match="beyond the 1 given"):
        await told(worker, "rerank", asking, results=stray, metrics=METRICS)


async def test_a_render_tells_the_tokens_of_each_message(memory):
    worker = await memory()
    messages = [{"index": 0, "start": 0, "count": 2}]
    rendered = {"prompt": "user: Hi", "ids": [1, 2, 3], "count": 3, "answer_start": 2}
    asking = worker.model.render("Hi", thinking=False, tool_choice="none")
    request, found = await told(worker, "render", asking, **rendered, messages=messages)
    assert request["messages"] == [TURN]
    assert (request["thinking"], request["tool_choice"]) == (False, "none")
    assert (found.prompt, found.ids, found.count, found.answer_start) == (
        *("user: Hi", [1, 2, 3], 3, 2),
    )
    assert found.messages == [mlxwire.RenderedMessage(index=0, start=0, count=2)]


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.render("Hi"),
        lambda model: model.embed(["a"]),
        lambda model: model.score(["a"]),
        lambda model: model.rerank("q", ["d"]),
        lambda model: model.classify(["a"]),
        lambda model: model.fit(),
    ],
)
async def test_a_model_that_is_gone_says_so(memory, ask):
    worker = await memory()
    await worker.model.close()
    with pytest.raises(mlxwire.ModelNotLoaded):
        await ask(worker.model)
