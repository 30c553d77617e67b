"""The kit's own parts: how outcomes are told, what a proxy passes on, who is found left behind."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.cases import Case, Failure, judge, read_expected, report, run_cases, unknown
from conformance.cli import main
from conformance.dialogue import Dialogue
from conformance.driver import HERE, ROOT, run_driver
from conformance.fault_matrix import FOLDER, fault_cases, read_expectation
from conformance.leftovers import MARK_VARIABLE, find_marked, kill, left_behind
from conformance.scenarios import SCENARIOS

BAD = Failure("text", "it differs")
GOOD_DRIVER = [sys.executable, str(HERE / "driver_python.py")]


def broken() -> list[Failure]:
    raise RuntimeError("the check itself")


CASES = [Case("good", list), Case("bad", lambda: [BAD]), Case("broken", broken)]


def told(expected: dict[str, str]) -> tuple[bool, str]:
    out = io.StringIO()
    return report(run_cases(CASES), expected, out), out.getvalue()


def test_a_table_names_each_case_and_each_check() -> None:
    good, table = told({})
    assert not good
    assert [line.split()[0] for line in table.splitlines()[:2]] == ["ok", "FAIL"]
    assert "text: it differs" in table
    assert "kit: RuntimeError: the check itself" in table
    assert table.endswith("3 cases, 2 failed\n")


def test_a_failure_that_is_expected_is_none() -> None:
    good, table = told({"bad": "not yet", "broken": "nor this"})
    assert good
    assert "text" not in table


def test_an_expected_failure_that_does_not_fail_is_stale() -> None:
    good, table = told({"good": "once", "bad": "not yet", "broken": "nor this"})
    assert not good
    assert "stale: it is expected to fail (once) and does not" in table


def test_an_expected_failure_of_no_case_is_stale() -> None:
    (outcome,) = unknown({"good": "x", "gone": "x"}, CASES)
    assert outcome.name == "gone"
    assert [failure.check for failure in judge(outcome, {})] == ["stale"]


def test_expected_failures_have_a_name_and_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "expected.txt"
    file.write_text("# a comment\n\nfault/a  because of it  # truly\n")
    assert read_expected(file) == {"fault/a": "because of it"}
    file.write_text("fault/a\n")
    with pytest.raises(ValueError, match="without a reason"):
        read_expected(file)


def kit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.conformance", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_the_command_line_runs_what_is_chosen_and_exits_0() -> None:
    ended = kit("--only", "scenario/idle", "client", *GOOD_DRIVER)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "1 cases, 0 failed")
    worker = [sys.executable, "-P", "-m", "mlxwire_worker", "--engine", "mock"]
    assert kit("--only", "transcript/quit", "worker", *worker).returncode == 0


def test_the_command_line_exits_1_where_a_case_fails() -> None:
    wrong = [sys.executable, str(HERE / "wrong_driver.py"), "another_pid"]
    ended = kit("--only", "scenario/idle", "client", *wrong)
    assert ended.returncode == 1
    assert "pid: 1 is not the worker's" in ended.stdout


def test_the_command_line_exits_1_where_an_expectation_is_stale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = tmp_path / "expected.txt"
    expected.write_text("scenario/gone  it never worked\n")
    options = ["--expected-failures", str(expected), "--only", "idle", "client"]
    assert main([*options, *GOOD_DRIVER]) == 1
    assert "there is no such case" in capsys.readouterr().out
    assert main(["--only", "no_such_case", "client", *GOOD_DRIVER]) == 1


def test_a_proxy_passes_bytes_and_the_exit_code_on(tmp_path: Path) -> None:
    record = tmp_path / "record"
    worker = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(7)"
    command = [
        sys.executable,
        str(HERE / "proxy.py"),
        str(record),
        sys.executable,
        "-c",
        worker,
    ]
    ended = subprocess.run(command, input=b'{"a":1}\ncut', capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (7, b'{"A":1}\nCUT')
    entries = [json.loads(line) for line in record.read_text().splitlines()]
    passed = [(entry["from"], entry["line"]) for entry in entries[1:]]
    assert passed == [
        ("host", '{"a":1}'), ("host", "cut"), ("worker", '{"A":1}'), ("worker", "CUT")
    ]  # fmt: skip


def test_a_run_tells_what_passed_and_how_much_was_held() -> None:
    run = run_driver(GOOD_DRIVER, "idle", recorded=True)
    assert run.exit_code == 0
    assert run.left == []
    assert 10 << 20 < run.peak_bytes < 1 << 30
    commands = [request["cmd"] for request in Dialogue(run.record).requests()]
    assert commands == ["hello", "load", "quit"]


def test_a_grandchild_in_a_session_of_its_own_is_found_by_its_mark() -> None:
    mark = f"test-{os.getpid()}"
    sleeper = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
    parent = f"import subprocess; subprocess.Popen({sleeper!r}, start_new_session=True)"
    subprocess.run([sys.executable, "-c", parent], env={**os.environ, MARK_VARIABLE: mark})
    (pid,) = find_marked(mark)
    kill([pid])
    assert left_behind(mark) == []


def test_every_scenario_of_the_contract_is_tried_and_no_other() -> None:
    contract = (HERE / "DRIVER.md").read_text()
    table = contract.split("## The scenarios")[1].split("## The cells")[0]
    named = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert named == set(SCENARIOS)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_an_expectation_is_one_that_can_be_judged(path: Path) -> None:
    due = read_expectation(path)
    assert due.ok in ("always", "maybe", "never")
    assert bool(due.codes) == (due.ok != "always")
    assert due.scenario in SCENARIOS
    assert due.seconds <= 25


def test_without_what_it_needs_the_kit_says_what_to_install_in_one_line() -> None:
    script = (
        "import runpy, sys; sys.modules['jsonschema'] = None; sys.argv = ['kit', 'worker', 'x'];"
        "runpy.run_module('tests.conformance', run_name='__main__')"
    )
    kit = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert kit.returncode == 1
    assert kit.stderr.count("\n") == 1, kit.stderr
    assert "needs the Python package jsonschema" in kit.stderr
    assert "pip install" in kit.stderr


def test_every_script_is_a_case() -> None:
    assert len(fault_cases([])) == len(list(FOLDER.glob("*.json")))
