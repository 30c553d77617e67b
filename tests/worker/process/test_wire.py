"""Lines over real descriptors: any size, any cut, pipes and sockets, a host that never reads."""

from __future__ import annotations

import json

import pytest

from support.driver import Driver, mock
from support.processes import resident_bytes

ENDLESS = {"prompt": "word " * 50, "ignore_eos": True, "max_tokens": 10**9}


@pytest.fixture(scope="module")
def worker() -> Driver:
    with mock() as driver:
        driver.hello()
        driver.load()
        yield driver


def test_a_line_over_the_limit_is_refused_by_id_and_the_connection_lives(
    worker: Driver,
) -> None:
    start = b'{"id":"big","cmd":"generate","prompt":"'
    worker.write(start + b"x" * (16 * 1024 * 1024 + 1 - len(start) - 2) + b'"}\n')

    error = worker.final("big")["error"]

    assert error["code"] == "message_too_large"
    assert error["data"] == {"max_line_bytes": 16 * 1024 * 1024}
    request_id = worker.send("generate", prompt="still here")
    assert worker.final(request_id)["finish_reason"] == "stop"
    assert worker.text(request_id) == "still here"


def test_a_line_of_exactly_the_limit_is_served(worker: Driver) -> None:
    start = b'{"id":"full","cmd":"generate","max_tokens":0,"prompt":"'
    worker.write(start + b"x" * (16 * 1024 * 1024 - len(start) - 2) + b'"}\n')

    assert worker.final("full")["finish_reason"] == "length"


def test_a_host_that_writes_a_byte_at_a_time_is_understood(worker: Driver) -> None:
    line = json.dumps(
        {"id": "slow", "cmd": "generate", "prompt": "schön 🚀"}, ensure_ascii=False
    )
    for byte in line.encode() + b"\r\n":
        worker.write(bytes([byte]))

    assert worker.final("slow")["finish_reason"] == "stop"
    assert worker.text("slow") == "schön 🚀"


def test_many_requests_in_one_write_are_all_served(worker: Driver) -> None:
    lines = [
        json.dumps({"id": f"many-{number}", "cmd": "generate", "prompt": f"number {number}"})
        for number in range(500)
    ]
    worker.write("\n".join(lines).encode() + b"\n")

    for number in range(500):
        worker.final(f"many-{number}")
        assert worker.text(f"many-{number}") == f"number {number}"


def test_over_socketpairs_a_worker_serves_and_ends_at_a_half_closed_stdin() -> None:
    with mock(sockets=True) as worker:
        worker.hello()
        worker.load(context_len=10**9)
        running = worker.send("generate", **ENDLESS)
        worker.first_token(running)
        worker.close_stdin()
        worker.drain()

        assert worker.wait(2) == 0
        assert worker.finals(running)[0]["finish_reason"] == "cancelled"


def test_over_socketpairs_a_closed_stdout_ends_an_idle_worker_with_3() -> None:
    with mock(sockets=True) as worker:
        worker.hello()
        worker.close_stdout()

        assert worker.wait(2) == 3


@pytest.mark.parametrize("sockets", [False, True], ids=["pipes", "sockets"])
def test_a_host_that_never_reads_costs_bounded_memory_and_its_end_is_heard(
    sockets: bool,
) -> None:
    with mock(sockets=sockets) as worker:
        worker.hello()
        worker.load(context_len=10**9)
        before = resident_bytes(worker.process.pid)
        worker.send("generate", **ENDLESS)
        unknown = json.dumps({"id": "", "cmd": "none", "filler": "x" * 1000}).encode() + b"\n"
        left = worker.write_some(unknown * 100_000, patience=0.5)

        assert left, "the worker read 100 MB of requests whose answers nobody takes"
        assert resident_bytes(worker.process.pid) - before < 24 << 20
        worker.close_stdin()
        assert worker.wait(2) == 0


def test_a_host_that_reads_again_gets_everything() -> None:
    with mock() as worker:
        worker.hello()
        worker.load(context_len=10**9)
        request_id = worker.send("generate", **{**ENDLESS, "max_tokens": 30_000})
        unread = b'{"id":"","cmd":"none"}\n' * 30_000
        left = worker.write_some(unread, patience=0.3)
        while left:
            worker.receive()
            left = worker.write_some(left, patience=0)

        assert worker.final(request_id)["tokens_generated"] == 30_000
        worker.until(lambda _: len(worker.messages[None]) == 30_000, None)
        seqs = [m["seq"] for m in worker.messages[request_id] if m["type"] == "token"]
        assert seqs == list(range(30_000))
