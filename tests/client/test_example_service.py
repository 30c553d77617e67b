"""The example service, over the mock: it streams, refuses, and lives through a crash."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import mlxwire
from mlxwire import sync
from support.patience import PATIENCE_SECONDS
from support.repository import ROOT

FILE = ROOT / "examples" / "python-service" / "service.py"
WORDS = 250
"""An answer that takes seconds, at 10 ms a word."""


@pytest.fixture(scope="module")
def program() -> Any:
    """Return the example as a module."""
    spec = importlib.util.spec_from_file_location("example_service", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.Handler.log_message = lambda *_: None
    return module


@pytest.fixture
def service(program: Any) -> Iterator[Any]:
    """Yield the running service, on a port that the system chose."""
    policy = mlxwire.RestartPolicy(backoff_min=0)
    args = ["--mock-step-seconds", "0.01"]
    with sync.Pool(engine="mock", args=args, restart=policy) as pool:
        model = pool.load("m", context_len=800)
        with program.Service(("127.0.0.1", 0), pool, model) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()


def ask(service: Any, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", service.server_port, timeout=PATIENCE_SECONDS
    )
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_an_answer_is_streamed(service):
    assert ask(service, "POST", "/chat", "one two three") == (200, "one two three")


def test_thoughts_are_no_part_of_the_answer(service):
    body = "<think>let me see</think>one two"
    assert ask(service, "POST", "/chat", body) == (200, "one two")


def test_what_can_not_be_served_is_refused_by_its_cause(service):
    assert ask(service, "POST", "/chat", "word " * 1000)[0] == 400
    assert ask(service, "POST", "/chat", "")[0] == 400
    assert ask(service, "POST", "/elsewhere", "x")[0] == 404
    assert ask(service, "GET", "/elsewhere")[0] == 404


def test_a_killed_worker_costs_no_later_request(service):
    status, text = ask(service, "GET", "/workers")
    workers = json.loads(text)
    assert (status, [worker["state"] for worker in workers]) == (200, ["ready"])
    os.kill(workers[0]["pid"], signal.SIGKILL)
    while ask(service, "POST", "/chat", "one two") != (200, "one two"):
        pass
    assert json.loads(ask(service, "GET", "/workers")[1])[0]["pid"] != workers[0]["pid"]


def test_a_client_that_hangs_up_cancels_its_request(service):
    body = "word " * WORDS
    request = f"POST /chat HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with socket.create_connection(("127.0.0.1", service.server_port)) as client:
        client.sendall(request.encode())
        assert client.recv(20).startswith(b"HTTP/1.1 200")
    while service.pool.workers[0].in_flight:
        service.model.info()
    assert service.model.metrics.generated_tokens < WORDS
