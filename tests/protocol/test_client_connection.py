"""A client meets workers that do not keep to the wire, or boast of odd limits."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mlxwire_protocol import WireError
from mlxwire_protocol.client_connection import ClientConnection
from mlxwire_protocol.client_events import StrayLine


def line(message: dict[str, Any]) -> bytes:
    return orjson.dumps(message) + b"\n"


def greeted(limits: object) -> ClientConnection:
    """Return a client whose worker told these limits."""
    client = ClientConnection()
    request_id, _ = client.hello(name="test", version="0")
    result = {"id": request_id, "type": "result", "final": True, "protocol": 1}
    list(client.receive(line({**result, "limits": limits})))
    return client


@pytest.mark.parametrize("limits", [None, 5, {}, {"max_line_bytes": 0}, {"max_line_bytes": -1}])
def test_a_limit_that_means_nothing_leaves_the_one_of_the_specification(limits: object) -> None:
    client = greeted(limits)

    assert client.max_line_bytes == 16 * 1024 * 1024
    assert client.request("info", {})


def test_a_request_beyond_the_workers_limit_is_not_sent() -> None:
    client = greeted({"max_line_bytes": 200})
    empty = len(client.request("generate", {"prompt": ""})[1]) - 1

    client.request("generate", {"prompt": "x" * (200 - empty)})
    with pytest.raises(WireError) as caught:
        client.request("generate", {"prompt": "x" * (201 - empty)})

    assert caught.value.code == "message_too_large"
    assert caught.value.data == {"max_line_bytes": 200}
    assert len(client.pending) == 2


@pytest.mark.parametrize("limit", [200, 1 << 25])
def test_a_reply_may_be_as_long_as_the_limit_or_the_specification_says(limit: int) -> None:
    client = greeted({"max_line_bytes": limit})
    most = max(limit, 16 * 1024 * 1024)
    for size, taken in ((most, True), (most + 1, False)):
        request_id, _ = client.request("detokenize", {"ids": [1]})
        result = {"id": request_id, "type": "result", "final": True, "text": ""}
        whole = line({**result, "text": "x" * (size - len(line(result)) + 1)})
        if taken:
            assert len(list(client.receive(whole))) == 1
            continue
        with pytest.raises(WireError) as caught:
            list(client.receive(whole))
        assert caught.value.code == "protocol_violation"


def test_a_token_that_says_that_it_is_the_end_is_an_offence() -> None:
    client = greeted({})
    request_id, _ = client.request("generate", {"prompt": "x"})
    token = {"id": request_id, "type": "token", "seq": 0, "token": "x", "token_id": 1}

    with pytest.raises(WireError) as caught:
        list(client.receive(line({**token, "final": True})))

    assert caught.value.code == "protocol_violation"


def test_only_an_error_without_an_id_tells_of_a_request_that_could_not_be_read() -> None:
    token = {"id": None, "type": "token", "seq": 0, "token": "a", "token_id": 1}
    error = {"id": None, "type": "error", "final": True, "error": {"code": "parse_error"}}
    for message, told in ((token, '"token" has the id null'), (error, "could not read one")):
        with pytest.raises(WireError) as caught:
            list(greeted({}).receive(line(message)))
        assert told in caught.value.message.replace("'", '"')


def test_of_a_stray_line_before_the_handshake_no_more_than_4_kib_is_kept() -> None:
    client = ClientConnection()
    client.hello(name="test", version="0")

    (stray,) = client.receive(b"x" * 100_000 + b"\n")

    assert isinstance(stray, StrayLine)
    assert client.stray_lines == [b"x" * 4096]


@pytest.mark.parametrize("seq", [-1, 0, 1, None])
def test_no_token_follows_the_item_of_its_prompt(seq: int | None) -> None:
    client = greeted({})
    request_id, _ = client.request("batch", {"prompts": ["x"], "stream": True})
    item = {"text": "x", "token_ids": [1], "finish_reason": "stop", "tokens_generated": 1}
    token = {"type": "token", "index": 0, "seq": seq, "token": "x", "token_id": 1}
    list(client.receive(line({"id": request_id, "type": "item", "index": 0, **item})))

    with pytest.raises(WireError, match="after the item of its prompt"):
        list(client.receive(line({"id": request_id, **token})))
