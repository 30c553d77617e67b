"""Hosts of the older wire, without ids, get exactly what they expect (SPEC §7)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.driver import mock
from support.naive_host import NaiveHost
from support.patience import PATIENCE_SECONDS

ENDLESS = {"cmd": "generate", "prompt": "la " * 5000, "max_tokens": 10**9}


@pytest.fixture
def host() -> Iterator[NaiveHost]:
    with mock("--mock-step-seconds", "0.0005") as worker:
        yield NaiveHost(worker)


def load(host: NaiveHost) -> None:
    loaded = host.ask(cmd="load", path="model", context_len=1_000_000)
    assert loaded == {"ok": True, "model_type": "mock", "vocab_size": 65536}


def test_a_host_loads_asks_and_quits(host: NaiveHost) -> None:
    load(host)
    info = host.ask(cmd="info")
    assert info == {"model_type": "mock", "vocab_size": 65536, "layers": 1, "hidden_size": 64}

    options = {"max_tokens": 64, "temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.0}
    host.send(cmd="generate", prompt="one two", repeat_penalty=1.1, **options)
    assert host.text() == ("one two", 2)
    host.send(cmd="chat", messages=[{"role": "user", "content": "three four five"}], **options)
    assert host.text() == ("three four five", 3)

    host.send(cmd="quit")
    assert host.worker.wait() == 0
    assert host.worker.read_line(PATIENCE_SECONDS) == b""


def test_fields_that_it_does_not_know_and_zero_values_are_no_errors(host: NaiveHost) -> None:
    reply = host.ask(cmd="load", path="m", adapter_path="", context_len=0, gpu_layers=99)
    assert reply["ok"] is True

    host.send(cmd="generate", prompt="a b", top_k=0, top_p=0, seed=None, mirostat=2)
    assert host.text() == ("a b", 2)
    message = {"role": "user", "content": "c", "name": "joe"}
    host.send(cmd="chat", messages=[message], tools=[])
    assert host.text() == ("c", 1)


def test_thoughts_and_calls_stay_in_the_text(host: NaiveHost) -> None:
    load(host)
    written = '<think> hm </think> so <tool_call> {"name": "f"} </tool_call>'
    host.send(cmd="chat", messages=[{"role": "user", "content": written}], tools=[{"f": 1}])

    assert host.text() == (written, len(written.split()))


def test_errors_are_one_plain_string_that_begins_with_the_command(host: NaiveHost) -> None:
    wrong = (
        (b"what?\n", "parse error: "),
        (b'{"cmd":"generate","prompt":"x"}\n', "generate: "),
        (b'{"cmd":"fly"}\n', "fly: "),
        (b'{"cmd":7}\n', "request: "),
        (b"[]\n", "request: "),
        (b'{"cmd":"load"}\n', "load: "),
        (b'{"id":"r1","cmd":"info"}\n', "info: "),
    )
    host.send(cmd="info")
    assert host.read()["error"].startswith("info: ")
    for line, beginning in wrong:
        host.worker.write(line)
        reply = host.read()
        assert set(reply) == {"error"}
        assert reply["error"].startswith(beginning)
    load(host)


def test_before_any_object_an_unreadable_line_is_answered_in_this_dialect(
    host: NaiveHost,
) -> None:
    host.worker.write(b"hello?\n")
    assert host.read()["error"].startswith("parse error: ")
    # It has fixed nothing: the host may still speak dialect 1.
    assert host.worker.hello()["protocol"] == 1


def test_cancel_has_no_reply_but_the_streams_one_done(host: NaiveHost) -> None:
    load(host)
    host.send(**ENDLESS)
    assert "token" in host.read()
    host.send(cmd="cancel")
    *tokens, done = host.stream()

    assert done == {"done": True, "tokens_generated": len(tokens) + 1}
    assert host.ask(cmd="info")["model_type"] == "mock"


def test_cancel_with_nothing_running_is_silent(host: NaiveHost) -> None:
    host.send(cmd="cancel")
    load(host)
    host.send(cmd="cancel")
    host.send(cmd="cancel")
    assert host.ask(cmd="info")["layers"] == 1
    host.send(cmd="generate", prompt="a b")
    assert host.text() == ("a b", 2)
    host.send(cmd="cancel")
    assert host.ask(cmd="info")["layers"] == 1


def test_pipelined_commands_are_answered_strictly_in_order(host: NaiveHost) -> None:
    for request in (
        {"cmd": "load", "path": "m"},
        {"cmd": "generate", "prompt": "a b c"},
        {"cmd": "info"},
        {"cmd": "generate"},
        {"cmd": "chat", "messages": [{"role": "user", "content": "d e"}]},
        {"cmd": "load", "path": "n"},
        {"cmd": "info"},
    ):
        host.send(**request)
    host.worker.write(b"no json\n")

    assert host.read()["ok"] is True
    assert host.text() == ("a b c", 3)
    assert host.read()["layers"] == 1
    assert host.read()["error"].startswith("generate: ")
    assert host.text() == ("d e", 2)
    assert host.read()["ok"] is True
    assert host.read()["layers"] == 1
    assert host.read()["error"].startswith("parse error: ")


def test_a_cancel_ends_the_stream_that_runs_and_not_those_that_wait(host: NaiveHost) -> None:
    load(host)
    host.send(**ENDLESS)
    host.send(cmd="generate", prompt="the next")
    assert "token" in host.read()
    host.send(cmd="cancel")

    assert list(host.stream())[-1]["done"] is True
    assert host.text() == ("the next", 2)


def test_quit_does_not_wait_for_the_stream_that_runs(host: NaiveHost) -> None:
    load(host)
    host.send(**ENDLESS)
    host.send(cmd="generate", prompt="never")
    assert "token" in host.read()
    host.send(cmd="quit")

    *tokens, done = host.stream()
    assert done == {"done": True, "tokens_generated": len(tokens) + 1}
    assert host.worker.wait() == 0


def test_a_shell_pipe_gets_all_its_answers() -> None:
    with mock("--drain-on-eof") as worker:
        worker.write(
            b'{"cmd":"load","path":"m"}\n{"cmd":"generate","prompt":"a b c"}\n{"cmd":"info"}'
        )
        worker.close_stdin()
        host = NaiveHost(worker)

        assert host.read()["ok"] is True
        assert host.text() == ("a b c", 3)
        assert host.read()["layers"] == 1
        assert worker.wait() == 0
