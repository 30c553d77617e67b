"""A worker ends by quit, the end of its input, a closed stdout, and signals (SPEC §9)."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from support.conversation import ENDLESS
from support.driver import Driver, mock
from support.patience import PATIENCE_SECONDS
from support.processes import has_ended

SLOW = ("--mock-step-seconds", "0.002")
COUNTING = """
import os
from mlxwire_worker.process.reader import Reader
wait, waits = Reader.wait, []
def counted(self, **options):
    waits.append(None)
    if len(waits) == 20_000:  # a hundred a second are due
        os.write(2, b"it spins")
    return wait(self, **options)
Reader.wait = counted
from mlxwire_worker.__main__ import main
main()
"""
BLIND = """
from mlxwire_worker.process.reader import Reader
wait = Reader.wait
def blind(self, **options):
    sign = wait(self, **options)
    return "idle" if sign == "stdout_broken" else sign
Reader.wait = blind
from mlxwire_worker.__main__ import main
main()
"""
BROKEN_AT_THE_END = """
from mlxwire_worker.process.reader import Reader
wait = Reader.wait
def broken_later(self, **options):  # only the end of a worker's life waits for a time of its own
    sign = wait(self, **options)
    return "stdout_broken" if "timeout" in options else sign
Reader.wait = broken_later
from mlxwire_worker.__main__ import main
main()
"""


def busy(worker: Driver) -> list[str]:
    """Bring a worker to where one request runs, one waits for a slot, a load for both."""
    worker.hello()
    worker.load(context_len=10**9, parallel_slots=1)
    running = worker.send("generate", **ENDLESS)
    worker.first_token(running)
    waiting = worker.send("generate", **ENDLESS)
    load = worker.send("load", path="other")
    return [running, waiting, load, worker.send("info")]


def assert_one_final_each(worker: Driver, ids: list[str]) -> None:
    assert {request_id: len(worker.finals(request_id)) for request_id in ids} == dict.fromkeys(
        ids, 1
    )


def test_quit_of_an_idle_worker_is_answered_and_exits_0() -> None:
    with mock() as worker:
        worker.hello()

        assert worker.ask("quit")["ok"] is True
        assert worker.wait() == 0
        assert worker.read_line(PATIENCE_SECONDS) == b""


def test_quit_ends_everything_in_flight_with_one_final_and_is_answered_last() -> None:
    with mock(*SLOW) as worker:
        ids = busy(worker)
        last = worker.send("quit")
        worker.drain()

        assert worker.wait() == 0
        assert_one_final_each(worker, [*ids, last])
        assert worker.order[-1]["id"] == last
        reasons = [worker.finals(request_id)[0] for request_id in ids]
        assert [final.get("finish_reason") for final in reasons[:3]] == ["cancelled"] * 3
        assert [final.get("stage") for final in reasons[:3]] == ["decode", "queued", "queued"]


def test_what_comes_after_quit_is_refused_with_one_final_too() -> None:
    with mock(*SLOW) as worker:
        ids = busy(worker)
        worker.write(
            b'{"id":"q","cmd":"quit"}\n{"id":"late","cmd":"info"}\n{"id":"l2","cmd":"quit"}\n'
        )
        worker.drain()

        assert worker.wait() == 0
        assert_one_final_each(worker, [*ids, "q", "late", "l2"])
        assert worker.finals("late")[0]["error"]["code"] == "shutting_down"
        assert worker.finals("l2")[0]["error"]["code"] == "shutting_down"


def test_the_end_of_input_ends_an_idle_worker_with_0() -> None:
    with mock() as worker:
        worker.hello()
        worker.close_stdin()

        assert worker.wait() == 0


@pytest.mark.parametrize("sockets", [False, True], ids=["pipes", "sockets"])
def test_the_end_of_input_ends_a_worker_that_nobody_spoke_to(sockets: bool) -> None:
    with mock(sockets=sockets) as worker:
        worker.close_stdin()

        assert worker.wait() == 0
        assert worker.drain() == []


def test_the_end_of_input_ends_a_busy_worker_with_every_final() -> None:
    with mock(*SLOW) as worker:
        ids = busy(worker)
        worker.close_stdin()
        worker.drain()

        assert worker.wait() == 0
        assert_one_final_each(worker, ids)


def test_the_last_line_needs_no_line_feed() -> None:
    with mock("--drain-on-eof") as worker:
        worker.write(b'{"id":"h","cmd":"hello","protocols":[1]}')
        worker.close_stdin()

        assert [message["id"] for message in worker.drain()] == ["h"]
        assert worker.wait() == 0


def test_with_drain_on_eof_what_is_in_flight_is_finished_first() -> None:
    with mock("--drain-on-eof", *SLOW) as worker:
        for line in (
            b'{"id":"h","cmd":"hello","protocols":[1]}',
            b'{"id":"l","cmd":"load","path":"m","parallel_slots":1}',
            b'{"id":"a","cmd":"generate","prompt":"one two three"}',
            b'{"id":"b","cmd":"chat","messages":[{"role":"user","content":"four five"}]}',
        ):
            worker.write(line + b"\n")
        worker.close_stdin()
        worker.drain()

        assert worker.wait() == 0
        assert (worker.text("a"), worker.text("b")) == ("one two three", "four five")
        assert_one_final_each(worker, ["h", "l", "a", "b"])


def test_a_worker_that_drains_does_not_spin_at_the_end_of_its_input() -> None:
    options = ("--engine", "mock", "--drain-on-eof", "--mock-step-seconds", "0.5")
    with Driver(*options, command=(sys.executable, "-c", COUNTING)) as worker:
        worker.hello()
        worker.load()
        last = worker.send("generate", prompt="one two three four five")
        worker.close_stdin()
        worker.drain()
        assert worker.wait() == 0
        assert "it spins" not in worker.stderr()

    assert worker.finals(last)[0]["tokens_generated"] == 5


def test_a_worker_that_may_not_read_on_yet_does_not_spin_either() -> None:
    options = ("--engine", "mock", "--drain-on-eof")
    with Driver(*options, command=(sys.executable, "-c", COUNTING)) as worker:
        worker.hello()
        unknown = b'{"id":"","cmd":"none"}\n'
        assert worker.write_some(unknown * 200_000, patience=1.0), (
            "it should have stopped reading"
        )
        worker.close_stdin()
        assert not has_ended(worker.process.pid, 2.0)
        assert "it spins" not in worker.stderr()


def test_quit_ends_a_worker_that_drains_at_the_end_of_input() -> None:
    with mock("--drain-on-eof", *SLOW) as worker:
        busy(worker)
        worker.send("quit")
        worker.close_stdin()
        worker.drain()

        assert worker.wait() == 0


@pytest.mark.parametrize("phase", ["silent", "idle", "busy"])
def test_a_closed_stdout_ends_the_worker_with_3(phase: str) -> None:
    with mock(*SLOW) as worker:
        if phase == "idle":
            worker.hello()
        if phase == "busy":
            busy(worker)
        worker.close_stdout()

        assert worker.wait() == 3


@pytest.mark.parametrize("unread", [False, True], ids=["little", "a full pipe"])
def test_a_write_to_a_closed_stdout_ends_the_worker_with_3_too(unread: bool) -> None:
    command = (sys.executable, "-c", BLIND, "--engine", "mock")
    with Driver(*([] if unread else SLOW), command=command) as worker:
        busy(worker)
        if unread:
            line = json.dumps({"id": "", "cmd": "none", "filler": "x" * 1000}).encode() + b"\n"
            assert worker.write_some(line * 100_000, patience=0.5)
        worker.close_stdout()

        assert worker.wait() == 3


def test_a_stdout_that_closes_while_finals_are_due_ends_the_worker_with_3() -> None:
    options = ("--engine", "mock", "--mock-step-seconds", "3600")
    with Driver(*options, command=(sys.executable, "-c", BROKEN_AT_THE_END)) as worker:
        worker.hello()
        worker.load()
        worker.send("generate", **ENDLESS)
        worker.send("quit")

        assert worker.wait() == 3


def test_a_worker_that_drains_still_ends_when_stdout_closes() -> None:
    with mock("--drain-on-eof", *SLOW) as worker:
        busy(worker)
        worker.close_stdin()
        worker.close_stdout()

        assert worker.wait() == 3


@pytest.mark.parametrize("phase", ["idle", "busy"])
def test_sigint_is_the_hosts_and_changes_nothing(phase: str) -> None:
    with mock(*SLOW) as worker:
        if phase == "busy":
            busy(worker)
        else:
            worker.hello()
        worker.signal(signal.SIGINT)

        assert worker.ask("metrics")["type"] == "result"
        assert worker.process.poll() is None


@pytest.mark.parametrize("phase", ["idle", "busy"])
def test_sigterm_ends_the_worker(phase: str) -> None:
    with mock(*SLOW) as worker:
        if phase == "busy":
            busy(worker)
        else:
            worker.hello()
        worker.signal(signal.SIGTERM)

        assert worker.wait() == -signal.SIGTERM
