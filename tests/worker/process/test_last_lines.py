"""A worker that ends writes all that it owes to a host that reads, however slowly, or exits 5."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from support.conversation import ENDLESS
from support.driver import Driver, mock
from support.patience import PATIENCE_SECONDS
from support.processes import has_ended

ASK = b'{"id":"m%d","cmd":"metrics"}\n'
FAR_LONGER = 2.0
"""Seconds: once the last lines were given up after 0.7."""
pipes_and_sockets = pytest.mark.parametrize("sockets", [False, True], ids=["pipes", "sockets"])


def asks(count: int) -> bytes:
    return b"".join(ASK % number for number in range(count))


def assert_waits_for_its_host(worker: Driver) -> None:
    assert not has_ended(worker.process.pid, FAR_LONGER), f"exit code {worker.wait()}"


def assert_all_answered(worker: Driver, count: int) -> None:
    worker.drain()
    assert worker.wait() == 0
    answered = [message["id"] for message in worker.order if message["id"].startswith("m")]
    assert answered == [f"m{number}" for number in range(count)]


@pipes_and_sockets
def test_answers_that_nobody_reads_yet_are_kept_at_the_end_of_a_drained_input(
    sockets: bool,
) -> None:
    with mock("--drain-on-eof", sockets=sockets) as worker:
        worker.hello()
        worker.write(asks(2_000))
        worker.close_stdin()
        assert_waits_for_its_host(worker)
        assert_all_answered(worker, 2_000)


@pipes_and_sockets
def test_requests_that_a_full_worker_left_unread_are_drained_too(sockets: bool) -> None:
    with mock("--drain-on-eof", sockets=sockets) as worker:
        worker.hello()
        requests = asks(200_000)
        left = worker.write_some(requests, patience=1.0)
        assert left, "the worker should have stopped reading"
        worker.close_stdin()
        assert_waits_for_its_host(worker)
        taken = requests[: -len(left)]
        whole = taken.count(b"\n")
        worker.drain()

        assert worker.wait() == 0
        results = [each["id"] for each in worker.order if each["type"] == "result"]
        assert results[1:] == [f"m{number}" for number in range(whole)]
        assert len(worker.order) == 1 + whole + (not taken.endswith(b"\n"))


def test_garbage_before_hello_is_answered_whole_as_well() -> None:
    with mock("--drain-on-eof") as worker:
        garbage = b"{\n" * 2_000_000
        left = worker.write_some(garbage, patience=1.0)
        assert left, "the worker should have stopped reading"
        worker.close_stdin()
        assert_waits_for_its_host(worker)
        lines = 0
        while worker.read_line(PATIENCE_SECONDS):
            lines += 1

        assert worker.wait() == 0
        assert lines == (len(garbage) - len(left) + 1) // 2


@pytest.mark.parametrize("quits", [False, True], ids=["end of input", "quit"])
def test_twenty_thousand_requests_are_answered_whoever_is_slower(quits: bool) -> None:
    with mock("--drain-on-eof") as worker:
        worker.hello()

        def ask() -> None:
            worker.write(asks(20_000))
            if quits:
                worker.write(b'{"id":"m20000","cmd":"quit"}\n')
            worker.close_stdin()

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        assert_waits_for_its_host(worker)
        assert_all_answered(worker, 20_000 + quits)
        asking.join(PATIENCE_SECONDS)


@pipes_and_sockets
def test_after_quit_a_host_that_is_away_still_gets_every_final(sockets: bool) -> None:
    with mock("--mock-step-seconds", "0.001", sockets=sockets) as worker:
        worker.hello()
        worker.load(context_len=10**9, parallel_slots=200)
        ids = [worker.send("generate", **ENDLESS) for _ in range(200)]
        worker.first_token(ids[-1])
        last = worker.send("quit")
        worker.close_stdin()
        assert_waits_for_its_host(worker)
        worker.drain()

        assert worker.wait() == 0
        assert [len(worker.finals(request_id)) for request_id in ids] == [1] * 200
        assert worker.order[-1]["id"] == last


def test_what_comes_after_quit_while_the_finals_are_due_is_refused() -> None:
    with mock("--mock-step-seconds", "0.4") as worker:
        worker.hello()
        worker.load()
        worker.first_token(worker.send("generate", **ENDLESS))
        worker.write(b'{"id":"q","cmd":"quit"}\n' + b" " * (1 << 18))
        worker.write(b'\n{"id":"late","cmd":"info"}\n')
        worker.drain()

        assert worker.wait() == 0
        assert worker.finals("late")[0]["error"]["code"] == "shutting_down"
        assert worker.order[-1]["id"] == "q"


@pytest.mark.parametrize("quits", [False, True], ids=["end of input", "quit"])
@pytest.mark.parametrize("requests", [5_000, 200_000], ids=["read", "unread"])
def test_a_worker_that_nobody_reads_gives_up_with_5(quits: bool, requests: int) -> None:
    options = [] if quits else ["--drain-on-eof"]
    with mock("--flush-seconds", "0.3", *options) as worker:
        worker.hello()
        if quits:
            worker.write(asks(5_000) + b'{"id":"q","cmd":"quit"}\n')
        else:
            worker.write_some(asks(requests), patience=1.0)
        worker.close_stdin()

        assert worker.wait() == 5


def test_a_worker_whose_answers_to_garbage_nobody_reads_gives_up_with_5_too() -> None:
    with mock("--drain-on-eof", "--flush-seconds", "0.3") as worker:
        assert worker.write_some(b"{\n" * 2_000_000, patience=1.0)
        worker.close_stdin()

        assert worker.wait() == 5


def test_a_worker_gives_up_with_5_also_while_it_computes_what_nobody_reads() -> None:
    with mock("--drain-on-eof", "--flush-seconds", "0.3") as worker:
        worker.hello()
        worker.load(context_len=10**9)
        worker.send("generate", **ENDLESS)
        worker.close_stdin()

        assert worker.wait() == 5


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_waits_in_no_write_to_its_pipe() -> None:
    with mock() as worker:
        worker.hello()
        place, flags = Path("/proc", str(worker.process.pid)), []
        for descriptor in (place / "fd").iterdir():
            if worker.is_stdout(descriptor):
                told = (place / "fdinfo" / descriptor.name).read_text()
                flags.append(int(told.split("flags:")[1].split()[0], 8))

    assert len(flags) == 1
    assert flags[0] & os.O_NONBLOCK


def test_a_plain_end_of_input_does_not_wait_for_a_host_that_reads_nothing() -> None:
    with mock("--flush-seconds", "1e9") as worker:
        worker.hello()
        worker.write(asks(5_000))
        worker.close_stdin()

        assert worker.wait() == 0


@pytest.mark.parametrize("value", ["-1", "nan", "soon"])
@pytest.mark.parametrize("option", ["--flush-seconds", "--heartbeat-seconds"])
def test_a_value_that_is_no_number_of_seconds_is_refused(option: str, value: str) -> None:
    with mock(f"{option}={value}") as worker:
        assert worker.wait() == 2
        assert option in worker.stderr()
