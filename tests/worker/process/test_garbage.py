"""Whatever a host writes, each line gets its answer, neighbours are unharmed, the worker lives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories import build_model
from mlxwire_protocol.errors import WORKER_CODES
from support.conversation import Message
from support.driver import Driver, mock
from support.patience import PATIENCE_SECONDS

from .garbage import GARBAGE

LINE_LIMIT = ("--max-line-bytes", "65536")
STEADY: dict[str, Any] = {
    "prompt": "a steady stream of words",
    "max_tokens": 24,
    "ignore_eos": True,
}


@pytest.fixture(scope="module")
def mock_worker() -> Iterator[Driver]:
    with mock(*LINE_LIMIT, "--mock-step-seconds", "0.0003") as worker:
        worker.hello()
        worker.load()
        yield worker


@pytest.fixture(scope="module")
def mlx_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with Driver(*LINE_LIMIT) as worker:
        worker.hello()
        worker.load(str(build_model("qwen3", tmp_path_factory.mktemp("garbage"))))
        yield worker


LINES = st.lists(GARBAGE, min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lines=LINES)
def test_garbage_is_answered_by_a_worker_with_the_mock(
    mock_worker: Driver, lines: list[bytes]
) -> None:
    throw(mock_worker, lines)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lines=LINES)
def test_garbage_is_answered_by_a_worker_with_a_model(
    mlx_worker: Driver, lines: list[bytes]
) -> None:
    throw(mlx_worker, lines)


def throw(worker: Driver, lines: list[bytes]) -> None:
    """Send lines amid a stream; check that every line has its one final message."""
    expected = steady_text(worker)
    stream = worker.send("generate", **STEADY)
    worker.first_token(stream)
    before = len(worker.order)
    worker.write(b"".join(line + b"\n" for line in lines))
    answered = 0
    while answered < len(lines):
        message = receive_raw(worker)
        answered += bool(message.get("final")) and message["id"] != stream
    worker.final(stream)

    assert worker.text(stream) == expected
    for message in worker.order[before:]:
        if message["type"] == "error":
            assert_typed(message)
    assert worker.ask("metrics")["in_flight"] == 0
    assert len(worker.finals(stream)) == 1


def receive_raw(worker: Driver) -> Message:
    """Receive one message without the check that no id ends twice: here ids are used twice."""
    message: Message = json.loads(worker.read_line(PATIENCE_SECONDS))
    worker.messages[message.get("id")].append(message)
    worker.order.append(message)
    return message


def steady_text(worker: Driver) -> str:
    request = worker.send("generate", **STEADY)
    worker.final(request)
    return worker.text(request)


def assert_typed(message: Message) -> None:
    error = message["error"]
    assert set(message) == {"id", "type", "final", "error"}
    assert error["code"] in WORKER_CODES
    assert error["code"] != "internal", error
    assert error["message"]
    assert error["retryable"] is (
        error["code"] in ("overloaded", "out_of_memory", "unavailable")
    )
    if error["code"] == "invalid_params":
        assert isinstance(error["data"]["field"], str)
