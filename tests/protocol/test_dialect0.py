"""The older wire, exactly: tables of requests and replies, and its order (SPEC §7)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxwire_protocol import Accepted, WireError, WorkerConnection, error_reply
from mlxwire_protocol.events import Answer
from mlxwire_protocol.messages import MAX_SAFE_INTEGER, Cancel, Chat, Generate, Load, Quit
from mlxwire_protocol.replies import (
    CancelledDone,
    Done,
    FlushToken,
    Progress,
    RequestMetrics,
    Token,
)
from mlxwire_protocol.results import CancelResult, InfoResult, LoadResult, OkResult
from protocol.wire import answers, commands, connection, send

MODEL: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 512, "layers": 4, "hidden_size": 64, "context_len": 256,
    "quant_bits": 0, "quant_group": 0, "parameters": 1, "weight_bytes": 4, "path": "x",
    "adapter_path": None, "chat_template": True, "parallel_slots": 4, "capabilities": {},
}  # fmt: skip
LOAD = {"cmd": "load", "path": "x"}
GENERATE = {"cmd": "generate", "prompt": "x"}
CHAT = {"cmd": "chat", "messages": [{"role": "user", "content": "x"}]}
INFO = {"cmd": "info"}
CANCEL = {"cmd": "cancel"}
QUIT = {"cmd": "quit"}


def running(request: dict[str, Any]) -> tuple[WorkerConnection, str]:
    """Return a connection on which this request runs, and the request's id within the worker."""
    worker = connection()
    (command,) = commands(send(worker, request))
    return worker, command.id


def sent(worker: WorkerConnection, reply: Any) -> list[dict[str, Any]]:
    return [json.loads(raw) for raw in worker.encode_reply(reply).splitlines()]


def done(request_id: str, count: int) -> Done:
    return Done(
        id=request_id, finish_reason="stop", tokens_generated=count, metrics=RequestMetrics()
    )


def tokens(worker: WorkerConnection, request_id: str, *texts: str) -> list[dict[str, Any]]:
    raw = b"".join(
        worker.encode_token(request_id, seq, text, 100 + seq) for seq, text in enumerate(texts)
    )
    return [json.loads(each) for each in raw.splitlines()]


# -- replies ---------------------------------------------------------------------------------


def test_load_is_answered_with_three_fields_and_without_progress() -> None:
    worker, request_id = running(LOAD)
    assert not sent(worker, Progress(id=request_id, stage="load", done=0, total=1))
    assert sent(worker, LoadResult(id=request_id, **MODEL)) == [
        {"ok": True, "model_type": "llama", "vocab_size": 512}
    ]


def test_info_is_answered_with_four_fields() -> None:
    worker, request_id = running(INFO)
    assert sent(worker, InfoResult(id=request_id, **MODEL)) == [
        {"model_type": "llama", "vocab_size": 512, "layers": 4, "hidden_size": 64}
    ]


@pytest.mark.parametrize("request_fields", [GENERATE, CHAT])
def test_a_stream_is_bare_tokens_and_one_done(request_fields: dict[str, Any]) -> None:
    worker, request_id = running(request_fields)
    first = tokens(worker, request_id, "a", "b")
    rest = sent(worker, done(request_id, 2))
    assert [*first, *rest] == [
        {"token": "a", "token_id": 100},
        {"token": "b", "token_id": 101},
        {"done": True, "tokens_generated": 2},
    ]


def test_a_token_is_sent_no_later_than_with_the_next() -> None:
    worker, request_id = running(GENERATE)
    assert len(tokens(worker, request_id, "a", "b", "c")) == 2


@given(st.lists(st.sampled_from(["", "a", "é "])), st.sampled_from(["", "tail", "😀"]))
def test_there_are_as_many_token_lines_as_tokens_and_no_text_is_lost(
    texts: list[str], tail: str
) -> None:
    worker, request_id = running(GENERATE)
    lines = tokens(worker, request_id, *texts)
    if tail and texts:
        last = 100 + len(texts) - 1
        lines += sent(
            worker, FlushToken(id=request_id, seq=len(texts), token=tail, token_id=last)
        )
    *lines, final = lines + sent(worker, done(request_id, len(texts)))
    assert final == {"done": True, "tokens_generated": len(texts)}
    assert [each["token_id"] for each in lines] == list(range(100, 100 + len(texts)))
    assert "".join(each["token"] for each in lines) == "".join(texts) + (tail if texts else "")


def test_typed_tokens_are_sent_like_plain_ones() -> None:
    worker, request_id = running(GENERATE)
    assert not sent(worker, Token(id=request_id, seq=0, token="a", token_id=1))
    assert sent(worker, done(request_id, 1))[0] == {"token": "a", "token_id": 1}


def test_a_cancelled_stream_ends_with_a_plain_done() -> None:
    worker, request_id = running(GENERATE)
    tokens(worker, request_id, "a")
    final = CancelledDone(
        id=request_id,
        finish_reason="cancelled",
        stage="decode",
        tokens_generated=1,
        metrics=RequestMetrics(),
    )
    assert sent(worker, final)[-1] == {"done": True, "tokens_generated": 1}


def test_a_cancelled_load_is_an_error_and_no_done() -> None:
    worker, request_id = running(LOAD)
    (final,) = sent(worker, done(request_id, 0))
    assert list(final) == ["error"]
    assert final["error"].startswith("load: ")


def test_an_error_comes_after_the_tokens_before_it_as_one_string() -> None:
    worker, request_id = running(GENERATE)
    tokens(worker, request_id, "a")
    error = error_reply(request_id, WireError("context_overflow", "too long"))
    assert sent(worker, error) == [
        {"token": "a", "token_id": 100}, {"error": "generate: too long"}
    ]  # fmt: skip


def test_cancel_and_quit_have_no_replies_of_their_own() -> None:
    worker, _ = running(GENERATE)
    (cancel,) = commands(send(worker, CANCEL))
    (quit_command,) = commands(send(worker, QUIT))
    assert worker.encode_reply(CancelResult(id=cancel.id, outcome="accepted")) == b""
    refused = error_reply(cancel.id, WireError("shutting_down", "ending"))
    assert worker.encode_reply(refused) == b""
    assert worker.encode_reply(OkResult(id=quit_command.id)) == b""


# -- requests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "start"),
    [
        (b"garbage", "parse error: "),
        (b'{"cmd":"info"', "parse error: "),
        (b'{"cmd":NaN}', "parse error: "),
        (b"[]", "request: "),
        (b"x" * 5000, "request: "),
        ({}, "request: missing cmd"),
        ({"cmd": None}, "request: missing cmd"),
        ({"cmd": 5}, "request: missing cmd"),
        ({"cmd": "frobnicate"}, "frobnicate: unknown command"),
        ({"cmd": "unload"}, "unload: unknown command"),
        ({"cmd": "metrics"}, "metrics: unknown command"),
        ({"cmd": "adapter"}, "adapter: unknown command"),
        ({"cmd": "train", "data": "d", "out": "o"}, "train: unknown command"),
        ({"cmd": "evaluate", "data": "d"}, "evaluate: unknown command"),
        ({"cmd": "classify", "prompts": ["x"]}, "classify: unknown command"),
        ({"cmd": "hello", "protocols": [1]}, "hello: unknown command"),
        ({"cmd": "load"}, "load: "),
        ({"cmd": "load", "path": 5}, "load: "),
        ({"cmd": "load", "path": ""}, "load: "),
        ({"cmd": "load", "path": "x", "context_len": -1}, "load: "),
        ({"cmd": "load", "path": "x", "context_len": False}, "load: "),
        ({"cmd": "generate"}, "generate: "),
        ({"cmd": "generate", "prompt": ""}, "generate: "),
        ({**GENERATE, "max_tokens": "5"}, "generate: "),
        ({**GENERATE, "temperature": -1}, "generate: "),
        ({**GENERATE, "min_p": 2}, "generate: "),
        ({"cmd": "chat"}, "chat: "),
        ({"cmd": "chat", "messages": []}, "chat: "),
        ({"cmd": "chat", "messages": "x"}, "chat: "),
        ({"cmd": "chat", "messages": [{"content": "x"}]}, "chat: "),
        ({"cmd": "chat", "messages": [{"role": "user", "content": 5}]}, "chat: "),
        (
            {"cmd": "chat", "messages": [{"role": "user", "content": [{"type": "image"}]}]},
            "chat: ",
        ),
        ({**GENERATE, "max_tokens": 5.5}, "generate: "),
        ({**GENERATE, "max_tokens": True}, "generate: "),
        ({"cmd": "chat", "messages": [5]}, "chat: "),
        ({"id": "a", "cmd": "info"}, "info: "),
        ({"id": "a"}, "request: "),
    ],
)
def test_what_is_wrong_is_one_plain_string(message: Any, start: str) -> None:
    worker, request_id = running(INFO)
    list(worker.finished(request_id))
    (event,) = send(worker, message)
    (answer,) = answers([event])
    assert list(answer) == ["error"]
    assert answer["error"].startswith(start)


def test_a_huge_command_name_is_not_echoed_whole() -> None:
    (answer,) = answers(send(connection(max_line_bytes=10**6), {"cmd": "x" * 10**5}))
    assert len(answer["error"]) < 400


@pytest.mark.parametrize(
    ("fields", "honoured"),
    [
        ({**LOAD, "context_len": 128}, {"context_len": 128}),
        ({**LOAD, "context_len": 0, "adapter_path": ""}, {"context_len": None, "adapter_path": None}),
        ({**LOAD, "context_len": None, "adapter_path": "y"}, {"context_len": None, "adapter_path": "y"}),
        ({**LOAD, "gpu_layers": -1, "parallel_slots": 0, "warmup": 5}, {"parallel_slots": None, "warmup": True}),
        ({**GENERATE, "min_p": 0.5, "repeat_penalty": 1.5}, {"min_p": 0.5, "repeat_penalty": 1.5}),
        ({**GENERATE, "top_k": 5, "top_p": 0.5, "temperature": 1, "max_tokens": 7},
         {"top_k": 5, "top_p": 0.5, "temperature": 1, "max_tokens": 7}),
        ({**GENERATE, "max_tokens": None, "top_p": None}, {"max_tokens": 256, "top_p": 1}),
        ({**GENERATE, "max_tokens": 0, "top_k": 0}, {"max_tokens": 0, "top_k": 0}),
        ({**GENERATE, "max_tokens": 5.0, "top_k": 40.0}, {"max_tokens": 5, "top_k": 40}),
        ({**GENERATE, "max_tokens": -1, "top_k": -1}, {"max_tokens": MAX_SAFE_INTEGER, "top_k": 0}),
        ({**GENERATE, "max_tokens": 1e300}, {"max_tokens": MAX_SAFE_INTEGER}),
        ({**GENERATE, "top_p": 0, "repeat_penalty": 0}, {"top_p": 1, "repeat_penalty": 0}),
        ({**GENERATE, "top_p": -0.5, "repeat_penalty": -1.5}, {"top_p": 1, "repeat_penalty": 0}),
        ({**GENERATE, "top_p": 1.5}, {"top_p": 1}),
        ({**LOAD, "context_len": 128.0, "id": None}, {"context_len": 128, "rotates_if_possible": True}),
        ({**LOAD, "context_len": 0.0}, {"context_len": None, "rotates_if_possible": False}),
        ({**GENERATE, "stop": 5, "seed": "x", "stop_tokens": "x", "ignore_eos": 1, "logits": 1},
         {"stop": [], "seed": None, "ignore_eos": False}),
    ],
)  # fmt: skip
def test_fields_are_honoured_or_ignored_as_older_hosts_expect(
    fields: dict[str, Any], honoured: dict[str, Any]
) -> None:
    (command,) = commands(send(connection(), fields))
    assert isinstance(command, Load | Generate)
    assert {name: getattr(command, name) for name in honoured} == honoured


def test_unknown_fields_of_messages_are_ignored() -> None:
    (command,) = commands(
        send(
            connection(),
            {"cmd": "chat", "messages": [{"role": "u", "content": "x", "name": 5}]},
        )
    )
    assert isinstance(command, Chat)
    assert command.messages[0].content == "x"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({}, ""),
        ({"content": None}, ""),
        ({"content": []}, ""),
        ({"content": [{"type": "text", "text": "a "}, {"text": "b"}, " c"]}, "a b c"),
    ],
)
def test_missing_content_is_empty_and_text_parts_are_joined(
    message: dict[str, Any], text: str
) -> None:
    asked = {"cmd": "chat", "messages": [{"role": "user", **message}]}
    (command,) = commands(send(connection(), asked))
    assert isinstance(command, Chat)
    assert command.messages[0].content == text
    assert command.enables_thinking


@pytest.mark.parametrize("asked", [{"max_tokens": 3}, {"max_tokens": -1}, {}])
def test_a_full_context_is_an_error_that_the_host_sees(asked: dict[str, Any]) -> None:
    worker, request_id = running({**GENERATE, **asked})
    tokens(worker, request_id, "a", "b")
    full = msgspec.structs.replace(done(request_id, 2), finish_reason="length")
    last, error = sent(worker, full)
    assert last["token"] == "b"
    assert error["error"].startswith("generate: the context was full after 2 tokens")


def test_the_wanted_number_of_tokens_is_no_full_context() -> None:
    worker, request_id = running({**GENERATE, "max_tokens": 2})
    tokens(worker, request_id, "a", "b")
    full = msgspec.structs.replace(done(request_id, 2), finish_reason="length")
    assert sent(worker, full)[-1] == {"done": True, "tokens_generated": 2}


# -- order -----------------------------------------------------------------------------------


def test_a_second_command_and_its_error_wait_for_the_first() -> None:
    worker, first = running(GENERATE)
    assert not send(worker, INFO, b"garbage", {"cmd": "zz"}, GENERATE, b"[]")
    (info,) = commands(worker.finished(first))
    events = list(worker.finished(info.id))
    assert [type(event) for event in events] == [Answer, Answer, Accepted]
    assert [answer["error"][:8] for answer in answers(events)] == ["parse er", "zz: unkn"]
    assert len(answers(worker.finished(commands(events)[0].id))) == 1


def test_cancel_reaches_the_stream_that_runs_and_not_those_that_wait() -> None:
    worker, first = running(GENERATE)
    send(worker, GENERATE)
    (cancel,) = commands(send(worker, CANCEL))
    assert isinstance(cancel, Cancel)
    assert cancel.target == first
    assert worker.is_known(first) == "in_flight"
    list(worker.finished(cancel.id))
    assert worker.in_flight == [first]
    (second,) = commands(worker.finished(first))
    assert worker.in_flight == [second.id]


@pytest.mark.parametrize("request_fields", [LOAD, INFO])
def test_cancel_is_silent_where_no_stream_runs(request_fields: dict[str, Any]) -> None:
    worker, request_id = running(request_fields)
    assert not send(worker, CANCEL)
    list(worker.finished(request_id))
    assert not send(worker, CANCEL, CANCEL)
    assert not send(connection(), CANCEL)


def test_quit_waits_for_nothing() -> None:
    worker, first = running(GENERATE)
    send(worker, GENERATE)
    (command,) = commands(send(worker, QUIT))
    assert isinstance(command, Quit)
    assert worker.in_flight == [first, command.id]
