"""A worker that breaks the wire's rules is stopped, and all that is pending fails with it."""

from __future__ import annotations

import asyncio
import signal

import pytest

import mlxwire

TOKEN = b'{"id":"ID","type":"token","seq":0,"token":"a","token_id":1}\n'


@pytest.mark.parametrize(
    "line",
    [
        b"not a message\n",
        b'{"id":"nobody","type":"token","seq":0,"token":"a","token_id":1}\n',
        TOKEN + TOKEN,
        TOKEN.replace(b":0,", b":1,"),
        TOKEN.replace(b'"token_id":1', b'"token_id":"1"'),
        TOKEN.replace(b'"token_id":1', b'"token_id":1,"final":true'),
        b'{"id":"ID","type":"done"}\n',
        b'{"id":null,"type":"error","final":true,"error":{"code":"parse_error"}}\n',
        b'{"id":"ID","type":"error","final":true,"error":{"code":"duplicate_id"}}\n',
        b'{"id":"ID","type":"token","seq":0,"token":"\xff","token_id":1}\n',
        b'{"id":"ID","seq":0,"token":"a","token_id":1}\n',
        b'{"id":"ID","type":"done","final":true,"finish_reason":"stop"}\n',
        b'{"id":"ID","type":"error","final":true}\n',
        b'{"id":"ID","type":"error","final":true,"error":"no object"}\n',
        b'{"id":"ID","type":"error","final":true,"error":{"message":"no code"}}\n',
        b'{"id":"ID","type":"error","final":true,"error":{"code":"a","message":"b","data":null}}\n',
        b'{"id":"ID","type":"result","final":true,"ok":true}\n',
        b'{"id":"ID","type":"progress","stage":"s","done":1,"total":1e400}\n',
        TOKEN.replace(b"}", b',"logprob":1e400}'),
        TOKEN.replace(b"}", b',"added_later":1e400}'),
        TOKEN.replace(
            b"}", b',"top_logprobs":[{"token":"a","token_id":1,"logprob":0,"x":-1e999}]}'
        ),
        TOKEN.replace(b"}", b',"index":1}'),
        TOKEN.replace(b"}", b',"index":-1}'),
        TOKEN.replace(b"}", b',"index":true}'),
        TOKEN + TOKEN.replace(b"}", b',"index":0}'),
        b'{"id":"ID","type":"item","index":0,"token":"a","token_id":1,"logprob":0}\n',
        b'{"type":"event","event":"heartbeat","data":{}}\n',
        b'{"id":"ID","type":"event","event":"heartbeat","data":{}}\n',
        b'{"id":null,"type":"event","data":{}}\n',
        b'{"id":null,"type":"event","event":5,"data":{}}\n',
        b'{"id":null,"type":"event","event":"eclipse"}\n',
        b'{"id":null,"type":"event","event":"eclipse","data":[]}\n',
        b'{"id":null,"type":"event","event":"eclipse","data":{},"final":true}\n',
        b'{"id":null,"type":"event","event":"heartbeat","data":{}}\n',
        b'{"id":"ID","type":"progress","done":0,"total":1}\n',
        b'{"id":"ID","type":"progress","stage":"s","done":"0","total":1}\n',
        b'{"id":"ID","type":"progress","stage":"s","done":0,"total":-1}\n',
        b'{"type":"token","seq":0,"token":"a","token_id":1}\n',
        b'{"type":"done","final":true,"finish_reason":"stop"}\n',
        b"[" * 1000 + b"\n",
        b"x" * (16 << 20) + b"yy\n",
    ],
)
async def test_an_offence_fails_everything_and_ends_the_worker(memory, line):
    worker = await memory()
    streams = [asyncio.create_task(worker.model.generate("p").text()) for _ in range(2)]
    ids = [(await worker.process.request("generate"))["id"] for _ in streams]
    worker.send(line.replace(b"ID", ids[0].encode()))
    for request_id in ids:  # so that they end well if the line is believed
        worker.done(request_id)
    for failed in await asyncio.gather(*streams, return_exceptions=True):
        assert isinstance(failed, mlxwire.ProtocolViolation)
    with pytest.raises(mlxwire.ProtocolViolation):
        await worker.model.info()
    await worker.connection.close()
    assert worker.process.returncode == -signal.SIGTERM


BATCH_TOKEN = TOKEN.replace(b"}", b',"index":0}')
ITEM = (
    b'{"id":"ID","type":"item","index":0,"text":"a","token_ids":[1],"finish_reason":"stop",'
    b'"tokens_generated":1,"error":null}\n'
)


@pytest.mark.parametrize(
    "lines",
    [
        BATCH_TOKEN.replace(b'"index":0', b'"index":2'),
        TOKEN,
        ITEM.replace(b'"index":0', b'"index":2'),
        ITEM.replace(b'"index":0,', b""),
        ITEM.replace(b'"index":0', b'"index":null'),
        ITEM.replace(b',"error":null', b""),
        ITEM.replace(b'"error":null', b'"error":"it broke"'),
        ITEM.replace(b'"error":null', b'"error":{"message":"no code"}'),
        ITEM.replace(b'"error":null', b'"error":{"code":"internal","message":1}'),
        ITEM.replace(b',"finish_reason":"stop"', b""),
        ITEM.replace(b"[1]", b"null"),
        ITEM + ITEM,
        ITEM + BATCH_TOKEN,
        BATCH_TOKEN + ITEM + BATCH_TOKEN.replace(b'"seq":0', b'"seq":1'),
    ],
)
async def test_a_batch_has_tokens_and_items_of_its_own_prompts_alone(memory, lines):
    worker = await memory()
    waiting = asyncio.create_task(worker.model.batch(["a", "b"], on_token=id).results())
    request_id = (await worker.process.request("batch"))["id"]
    worker.send(lines.replace(b"ID", request_id.encode()))
    worker.done(request_id)  # so that the batch ends well if the lines are believed
    with pytest.raises(mlxwire.ProtocolViolation):
        await waiting


@pytest.mark.parametrize("on_token", [None, id])
async def test_a_batch_has_tokens_only_if_they_were_asked_for(memory, on_token):
    worker = await memory()
    waiting = asyncio.create_task(worker.model.batch(["a"], on_token=on_token).results())
    request_id = (await worker.process.request("batch"))["id"]
    worker.send((BATCH_TOKEN + ITEM).replace(b"ID", request_id.encode()))
    worker.done(request_id)
    if on_token:
        assert [result.text for result in await waiting] == ["a"]
        return
    with pytest.raises(mlxwire.ProtocolViolation):
        await waiting


async def test_a_result_of_another_shape_ends_the_worker(memory):
    worker = await memory()
    waiting = asyncio.create_task(worker.model.generate("p").text())
    await worker.process.request("generate")
    asking = asyncio.create_task(worker.model.detokenize([1]))
    request_id = (await worker.process.request("detokenize"))["id"]
    worker.reply(request_id, type="result", final=True, text=1)
    for failed in await asyncio.gather(waiting, asking, return_exceptions=True):
        assert isinstance(failed, mlxwire.ProtocolViolation)


async def test_each_failed_request_has_an_exception_of_its_own(memory):
    worker = await memory()
    tasks = [asyncio.create_task(worker.model.generate("p").text()) for _ in range(2)]
    await worker.process.request("generate")
    await worker.process.request("generate")
    worker.process.die(-signal.SIGSEGV)
    first, second = await asyncio.gather(*tasks, return_exceptions=True)
    assert first is not second
    assert first.signal == second.signal == signal.SIGSEGV
    assert "SIGSEGV" in str(first)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_replies_may_be_cut_anywhere(memory, size):
    worker = await memory()
    collecting = asyncio.create_task(worker.model.generate("p").text())
    request_id = (await worker.process.request("generate"))["id"]
    blob = b"".join(
        b'{"id":"%b","type":"token","seq":%d,"token":"\xc3\xa4\xe2\x80\xa8","token_id":1}\r\n\n'
        % (request_id.encode(), seq)
        for seq in range(9)
    )
    for start in range(0, len(blob), size):
        worker.send(blob[start : start + size])
    worker.done(request_id)
    assert await collecting == "ä\u2028" * 9


async def test_unknown_types_and_fields_are_let_through(memory):
    worker = await memory()
    collecting = asyncio.create_task(worker.model.generate("p").text())
    request_id = (await worker.process.request("generate"))["id"]
    worker.reply(request_id, type="from_the_future", final=False)
    worker.tokens(request_id, "a")
    worker.done(request_id, "a_new_reason", novelty={"x": 1})
    assert await collecting == "a"


async def test_events_reach_the_host(memory):
    events = []
    worker = await memory(on_event=events.append)
    worker.reply(None, type="event", event="memory_pressure", data={"bytes": 3})
    worker.reply(None, type="event", event="eclipse", data={}, shape="unheard of")
    assert [(event.event, event.data) for event in events] == [
        ("memory_pressure", {"bytes": 3}),
        ("eclipse", {}),
    ]


async def test_another_event_loop_is_refused(memory):
    worker = await memory()
    stream = worker.model.generate("p")

    def elsewhere():
        for use in (worker.model.info, stream.__anext__, stream.aclose):
            with pytest.raises(RuntimeError, match="event loop"):
                asyncio.run(use())

    await asyncio.to_thread(elsewhere)
    assert worker.process.requests == []
