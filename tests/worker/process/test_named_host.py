"""A host that names itself takes its worker along, though others hold the pipes (SPEC §9)."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from mlxwire_worker.process.parent import VARIABLE, ParentWatch, named_host
from support.driver import WORKER, Driver, mock
from support.patience import PATIENCE_SECONDS
from support.processes import has_ended
from support.repository import ROOT

FORKING = str(ROOT / "tests" / "support" / "forking_host.py")
MIDDLE = str(ROOT / "tests" / "support" / "middle_host.py")
MOCK = (*WORKER, "--engine", "mock")
BY_VARIABLE = ("env", f"{VARIABLE}=HOST", *MOCK)
BY_OPTION = (*MOCK, "--parent-pid", "HOST")
WRAPPED = ("sh", "-c", '"$@"; exit $?', "sh", *BY_VARIABLE)


def ended_pid() -> int:
    """Return the pid of a process that has ended and was reaped."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.usefixtures("adopt_orphans")
@pytest.mark.parametrize("when", ["now", "later"])
@pytest.mark.parametrize(
    "command", [BY_VARIABLE, BY_OPTION, WRAPPED], ids=["variable", "option", "wrapped"]
)
def test_a_worker_ends_with_its_host_though_a_forked_child_holds_the_pipes(
    command: tuple[str, ...], when: str
) -> None:
    with subprocess.Popen(
        [sys.executable, FORKING, when, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as host:
        assert host.stdout is not None
        pid, keeper = map(int, host.stdout.readline().split())
        try:
            host.communicate(b"\n", PATIENCE_SECONDS)
            assert has_ended(pid, PATIENCE_SECONDS), "the worker outlived its host"
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
        finally:
            os.kill(keeper, signal.SIGKILL)
            os.waitpid(keeper, 0)


def test_a_host_that_is_gone_already_is_noticed_before_anything_heavy_is_imported() -> None:
    command = (sys.executable, "-P", "-X", "importtime", "-m", "mlxwire_worker")
    with Driver(command=command, environment={VARIABLE: str(ended_pid())}) as worker:
        assert worker.wait() == 4
        assert "--parent-pid 0" in worker.stderr()
        assert "mlxwire_worker.process.parent" in worker.stderr()
        assert "msgspec" not in worker.stderr()


def test_the_end_of_a_wrapper_is_nothing_to_a_worker_that_knows_its_host() -> None:
    environment = {VARIABLE: str(os.getpid())}
    command = (sys.executable, MIDDLE, "lend", "--engine", "mock")
    with Driver(command=command, environment=environment) as worker:
        worker.hello()
        pid = int(worker.stderr().split()[0])
        worker.process.kill()
        worker.process.wait()
        assert not has_ended(pid, 1.0)

        assert worker.ask("quit")["ok"] is True
        assert has_ended(pid, PATIENCE_SECONDS)


@pytest.mark.parametrize("argument", [["--parent-pid", "0"], ["--parent-pid=0"]])
def test_an_argument_comes_before_the_variable(argument: list[str]) -> None:
    with mock(*argument, environment={VARIABLE: str(ended_pid())}) as worker:
        worker.hello()


def test_an_abbreviated_argument_names_the_host_too() -> None:
    with mock("--parent", str(ended_pid())) as worker:
        assert worker.wait() == 4


@pytest.mark.parametrize("value", ["-1", "1.5", "host", str(1 << 31)])
def test_a_value_that_is_no_pid_is_a_wrong_command_line(value: str) -> None:
    with mock(f"--parent-pid={value}") as worker:
        assert worker.wait() == 2
    with Driver(environment={VARIABLE: value}) as worker:
        assert worker.wait() == 2
        assert "--parent-pid" in worker.stderr()


def test_the_variable_is_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "17")
    assert named_host(["--engine", "mock"]) == "17"
    assert VARIABLE not in os.environ
    assert named_host([]) == ""


@pytest.mark.parametrize(
    "arguments", [["--parent-pid", "5"], ["--parent-pid=4", "--parent-pid=5", "--engine"]]
)
def test_the_last_argument_names_the_host(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "17")
    assert named_host(arguments) == "5"


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the system has to watch a process by."""

    def refused(*_: object) -> int:
        raise OSError("this system has none")

    monkeypatch.setattr(os, "pidfd_open", refused, raising=False)
    monkeypatch.setattr(select, "kqueue", refused, raising=False)


@pytest.mark.parametrize("by_pid", [False, True], ids=["by descriptor", "by pid"])
def test_a_process_is_watched_whatever_the_system_has(
    monkeypatch: pytest.MonkeyPatch, by_pid: bool
) -> None:
    if by_pid:
        refuse(monkeypatch)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    watch = ParentWatch(process.pid)
    assert not watch.is_gone()
    assert (watch.fd is None) == (by_pid or sys.platform != "linux")
    process.communicate(b"\n", PATIENCE_SECONDS)

    assert watch.is_gone()
    assert ParentWatch(process.pid).is_gone()


@pytest.mark.parametrize("named", [False, True])
def test_without_a_descriptor_a_parent_is_gone_when_it_changes(
    monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    refuse(monkeypatch)
    watch = ParentWatch(os.getppid() if named else 0)
    assert not watch.is_gone()
    monkeypatch.setattr(os, "getppid", lambda: 1 << 30)
    assert watch.is_gone()


def test_a_process_of_another_user_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_yours(_pid: int, _number: int) -> None:
        raise PermissionError

    refuse(monkeypatch)
    monkeypatch.setattr(os, "kill", not_yours)
    assert not ParentWatch(1 << 20).is_gone()
