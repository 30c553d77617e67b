"""A host that is killed takes its worker along, whatever that is doing (lessons 31, 32, 36)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest

from factories import build_model
from support.conversation import ENDLESS
from support.driver import Driver
from support.patience import PATIENCE_SECONDS
from support.processes import children_of, has_ended
from support.repository import ROOT

MIDDLE = str(ROOT / "tests" / "support" / "middle_host.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    config = {"max_position_embeddings": 1 << 20}
    return str(build_model("qwen3", tmp_path_factory.mktemp("orphan"), config=config))


def middle_host(mode: str, *arguments: str) -> Driver:
    return Driver(mode, *arguments, command=(sys.executable, MIDDLE))


def worker_pid(host: Driver) -> int:
    return int(host.stderr().split()[0])


def idle(host: Driver, model: str) -> None:
    host.load(model)


def queued(host: Driver, model: str) -> None:
    host.load(model, parallel_slots=1)
    host.first_token(host.send("generate", **ENDLESS))
    host.send("generate", **ENDLESS)
    host.send("load", path=model)
    assert host.ask("metrics")["in_flight"] >= 2


def generating(host: Driver, model: str) -> None:
    host.load(model)
    host.first_token(host.send("generate", **ENDLESS))


def loading(host: Driver, model: str) -> None:
    host.until(lambda message: message["type"] == "progress", host.send("load", path=model))


@pytest.mark.parametrize("phase", [idle, queued, generating, loading])
def test_worker_and_template_helper_are_gone_after_their_host(
    phase: Callable[[Driver, str], None], model: str
) -> None:
    with middle_host("own", "--read") as host:
        host.hello()
        phase(host, model)
        assert_all_die_with(host)


def test_a_worker_whose_answers_nobody_ever_read_is_gone_too(model: str) -> None:
    with middle_host("own") as host:
        host.send("hello", protocols=[1])
        host.send("load", path=model)
        host.send("generate", **ENDLESS)
        unread = b'{"id":"","cmd":"none"}\n' * 100_000
        assert host.write_some(unread, patience=1.0), "the worker should have stopped reading"
        assert_all_die_with(host)


def test_a_worker_with_unread_requests_is_gone_too(model: str) -> None:
    with middle_host("own", "--read", "--max-inflight", "2") as host:
        host.hello()
        generating(host, model)
        host.write_some(b'{"id":"","cmd":"none","filler":"%s"}\n' % (b"x" * 200_000) * 200, 0.2)
        assert_all_die_with(host)


@pytest.mark.usefixtures("adopt_orphans")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_changed_parent_ends_the_worker_with_4_though_its_pipes_are_open(busy: bool) -> None:
    with middle_host("lend", "--engine", "mock", "--mock-step-seconds", "0.01") as host:
        host.hello()
        host.load("m", context_len=10**9)
        if busy:
            host.first_token(host.send("generate", **ENDLESS))
        pid = worker_pid(host)
        host.process.kill()
        host.process.wait()

        assert has_ended(pid, PATIENCE_SECONDS), "the worker outlived its host"
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4


def assert_all_die_with(host: Driver) -> None:
    pid = worker_pid(host)
    helpers = children_of(pid)
    assert helpers, "the template helper should run by now"
    host.signal(signal.SIGKILL)
    host.process.wait(PATIENCE_SECONDS)
    try:
        for other in (pid, *helpers):
            assert has_ended(other, PATIENCE_SECONDS), f"pid {other} outlived its host"
    finally:
        for other in (pid, *helpers):
            kill(other)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
