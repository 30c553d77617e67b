"""A client's end and a worker's end talking to each other in memory."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxwire_protocol import (
    Accepted,
    WireError,
    WorkerConnection,
    error_reply,
)
from mlxwire_protocol.client_connection import ClientConnection
from mlxwire_protocol.client_events import ReplyReceived, TokenReceived
from mlxwire_protocol.commands import command_name, row_of
from mlxwire_protocol.messages import Command
from mlxwire_protocol.replies import Done, RequestMetrics
from mlxwire_protocol.results import (
    CacheResult,
    CancelResult,
    CreditResult,
    DetokenizeResult,
    InfoResult,
    LoadResult,
    MemoryResult,
    MetricsResult,
    OkResult,
    TokenizeResult,
)
from protocol.examples import REPLIES
from protocol.strategies import TEXT, requests
from protocol.wire import connection

RESULTS: dict[str, type[msgspec.Struct]] = {
    "load": LoadResult,
    "unload": OkResult,
    "info": InfoResult,
    "tokenize": TokenizeResult,
    "detokenize": DetokenizeResult,
    "cancel": CancelResult,
    "credit": CreditResult,
    "cache": CacheResult,
    "memory": MemoryResult,
    "metrics": MetricsResult,
    "quit": OkResult,
}
REQUESTS = st.lists(requests(), min_size=1, max_size=8)


def greeted() -> tuple[ClientConnection, WorkerConnection]:
    client, worker = ClientConnection(), connection(max_inflight=64, max_line_bytes=1 << 20)
    _, line = client.hello(name="test", version="0")
    (greeting,) = worker.receive(line)
    assert not isinstance(greeting, Accepted)
    (reply,) = client.receive(greeting.line)
    assert isinstance(reply, ReplyReceived)
    assert client.state == worker.state == "ready"
    return client, worker


def has_tokens(command: Command) -> bool:
    return command_name(command) in ("generate", "chat")


def answer(worker: WorkerConnection, command: Command, texts: list[str], fails: bool) -> bytes:
    """Return what a worker sends for one request, from its first token to its final."""
    lines = [
        worker.encode_token(command.id, seq, text, seq)
        for seq, text in enumerate(texts if has_tokens(command) else [])
    ]
    if fails:
        final: Any = error_reply(command.id, WireError("internal", "x"))
    elif row_of(command).final == "done":
        final = Done(
            id=command.id,
            finish_reason="stop",
            tokens_generated=len(texts),
            metrics=RequestMetrics(),
        )
    else:
        kind = RESULTS[command_name(command)]
        example = next(reply for reply in REPLIES if type(reply) is kind)
        final = msgspec.structs.replace(example, id=command.id)
    lines.append(worker.encode_reply(final))
    assert not list(worker.finished(command.id))
    return b"".join(lines)


@settings(max_examples=60)
@given(data=st.data(), asked=REQUESTS, size=st.integers(1, 64))
def test_every_request_is_understood_and_ends_once(
    data: st.DataObject, asked: list[dict[str, Any]], size: int
) -> None:
    client, worker = greeted()
    stream, ids = b"", []
    for fields in asked:
        request_id, line = client.request(
            fields["cmd"], {key: value for key, value in fields.items() if key != "cmd"}
        )
        ids.append(request_id)
        stream += line
    accepted = []
    for start in range(0, len(stream), size):
        for event in worker.receive(stream[start : start + size]):
            assert isinstance(event, Accepted), event
            accepted.append(event.command)
    assert [command.id for command in accepted] == ids == client.pending == worker.in_flight

    expected: dict[str, str] = {}
    back = b""
    for command in data.draw(st.permutations(accepted)):
        texts = data.draw(st.lists(TEXT, max_size=4))
        expected[command.id] = "".join(texts) if has_tokens(command) else ""
        back += answer(worker, command, texts, data.draw(st.booleans()))
    received = dict.fromkeys(ids, "")
    ended = []
    for start in range(0, len(back), size):
        for reply in client.receive(back[start : start + size]):
            if isinstance(reply, TokenReceived):
                received[reply.request_id] += reply.text
            elif isinstance(reply, ReplyReceived) and reply.ended:
                ended.append(reply.id)
    assert received == expected
    assert sorted(ended) == sorted(ids)
    assert client.pending == worker.in_flight == []


def test_a_refused_request_ends_at_the_client_too() -> None:
    client, worker = greeted()
    for command, fields in [("generate", {}), ("zz", {}), ("hello", {"protocols": [1]})]:
        _, line = client.request(command, fields)
        (event,) = worker.receive(line)
        assert not isinstance(event, Accepted)
        (reply,) = client.receive(event.line)
        assert isinstance(reply, ReplyReceived)
        assert reply.ended
    assert not client.pending


@pytest.mark.parametrize(
    "line", [b"garbage\n", b'{"cmd":"info"}\n', b'{"id":"h","cmd":"info"\n']
)
def test_an_error_without_an_id_fails_the_client(line: bytes) -> None:
    client, worker = greeted()
    (event,) = worker.receive(line)
    assert not isinstance(event, Accepted)
    with pytest.raises(WireError) as caught:
        list(client.receive(event.line))
    assert caught.value.code == "protocol_violation"
    assert client.state == "failed"


def test_a_duplicate_ids_error_is_not_taken_for_the_first_requests_final() -> None:
    client, worker = greeted()
    _, line = client.request("info", {})
    (_, event) = worker.receive(line + line)
    assert not isinstance(event, Accepted)
    with pytest.raises(WireError) as caught:
        list(client.receive(event.line))
    assert caught.value.code == "protocol_violation"
