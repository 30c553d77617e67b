"""Every check of the kit can fail: wrong workers and wrong clients make it red, by its name."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance import process_host
from conformance.cases import Case, Failure, run_cases
from conformance.driver import HERE
from conformance.fault_matrix import FOLDER, fault_cases
from conformance.scenarios import scenario_cases
from conformance.tables.table_cases import table_cases
from conformance.worker_cases import worker_cases

pytestmark = pytest.mark.timeout(600)

WRONG_WORKERS = [
    (
        "universal_line_ends",
        "framing/unicode:_U+2028,_U+2029_and_U+0085_end_no_line",
        "framing",
    ),
    ("no_limit", "framing/limits:_sixteen_mebibytes_and_one", "framing"),
    ("cut_off_is_lost", "framing/line_ends:_an_unterminated_last_line_is_a_line", "framing"),
    ("chunks_are_lines", "framing/line_ends:_two_lines_in_one_piece", "framing"),
    ("chatters", "transcript/generate", "lines"),
    ("two_finals", "transcript/generate", "replies"),
    ("seq_gap", "transcript/generate", "replies"),
    ("seq_gap", "transcript/tool_calls", "replies"),
    ("call_without_tools", "transcript/thoughts", "dialogue"),
    ("call_id_missing", "transcript/tool_calls", "schema"),
    ("no_final", "transcript/generate", "silence"),
    ("other_code", "transcript/unknown_command", "dialogue"),
    ("field_missing", "transcript/generate", "schema"),
    ("exits_with_1", "transcript/quit", "exit"),
    ("says_nothing", "transcript/generate", "silence"),
]
WRONG_DRIVERS = [
    ("prints_nothing", "scenario/generate", "result"),
    ("prints_twice", "scenario/generate", "result"),
    ("prints_no_json", "scenario/generate", "result"),
    ("prints_a_list", "scenario/generate", "result"),
    ("prints_another_name", "scenario/generate", "result"),
    ("prints_text_for_a_number", "scenario/generate", "result"),
    ("leaves_a_field_out", "scenario/generate", "result"),
    ("contradicts_itself", "scenario/generate", "result"),
    ("exits_with_1", "scenario/generate", "exit"),
    ("hangs", "scenario/generate", "time"),
    ("leaves_a_process", "scenario/idle", "processes"),
    ("untyped_error", "scenario/no_model", "typed"),
    ("retryable_lies", "scenario/no_model", "retryable"),
    ("error_without_words", "scenario/no_model", "error"),
    ("error_without_count", "scenario/no_model", "error"),
    ("another_error", "scenario/no_model", "outcome"),
    ("sees_no_error", "scenario/no_model", "outcome"),
    ("sees_an_error", "scenario/generate", "outcome"),
    ("forgets_what_it_delivered", "scenario/abort", "tokens_delivered"),
    ("loses_text", "scenario/generate", "text"),
    ("loses_a_token", "scenario/generate", "tokens"),
    ("loses_a_token", "scenario/sleeper", "tokens"),
    ("ends_otherwise", "scenario/generate", "finish_reason"),
    ("another_pid", "scenario/idle", "pid"),
    ("next_fails", "scenario/overlong", "next"),
    ("no_next", "scenario/cancel", "next"),
    ("takes_too_long", "scenario/deadline", "seconds"),
    ("reads_to_the_end", "scenario/cancel", "cancel"),
    ("no_deadline", "scenario/deadline", "request"),
    ("other_messages", "scenario/chat", "request"),
    ("asks_too_much", "scenario/idle", "request"),
    ("one_by_one", "scenario/together", "at once"),
    ("wrong_texts", "scenario/together", "texts"),
    ("wrong_length", "scenario/sleeper", "texts_equal_length"),
    ("wrong_items", "scenario/classify", "items"),
    ("wrong_items", "scenario/batch", "items"),
    ("wrong_info", "scenario/info", "info"),
    ("no_info", "scenario/info", "info"),
    ("wrong_field", "scenario/bad_option", "field"),
    ("no_json_on_the_wire", "scenario/generate", "lines"),
    ("unknown_option", "scenario/generate", "schema"),
    ("speaks_before_hello", "scenario/generate", "handshake"),
    ("says_no_goodbye", "scenario/generate", "quit"),
    ("says_an_id_twice", "scenario/generate", "ids"),
    ("expects_no_answer", "scenario/generate", "replies"),
    ("sees_no_error", "fault/meaning_seq_gap", "outcome"),
    ("another_error", "fault/meaning_seq_gap", "outcome"),
    ("untyped_error", "fault/meaning_seq_gap", "typed"),
    ("retryable_lies", "fault/meaning_seq_gap", "retryable"),
    ("sees_an_error", "fault/meaning_unknown_type", "outcome"),
    ("loses_text", "fault/framing_emoji", "text"),
    ("loses_a_token", "fault/credit_unanswered", "tokens"),
    ("no_next", "fault/crash_mid_stream", "next"),
    ("leaves_a_process", "fault/crash_mid_stream", "processes"),
    ("prints_nothing", "fault/crash_mid_stream", "result"),
    ("closes_slowly", "fault/crash_mid_stream", "closed_seconds"),
    ("forgets_what_it_delivered", "fault/crash_mid_stream", "tokens_delivered"),
    ("ends_quietly", "stop/sigkill/waiting/generate", "cell"),
    ("ends_quietly", "bad/words", "cell"),
    ("ends_quietly", "calls/bad/seq_gap", "cell"),
    ("answers_nothing", "calls/good/call", "cell"),
    ("ends_quietly", "option/generate/temperature/-1", "cell"),
    ("answers_nothing", "stop/sigkill/waiting/generate", "cell"),
    ("answers_nothing", "table/stopping", "exit"),
]
Found = Callable[[str, str], list[Failure]]


def case_for(side: str, wrongness: str, name: str) -> Case:
    command = [sys.executable, str(HERE / f"wrong_{side}.py"), wrongness]
    if side == "worker":
        cases = worker_cases([*command, "--engine", "mock"])
    else:
        limit = 3.0 if wrongness == "hangs" else 60.0
        cell = "stop/sigkill/waiting/generate" if name == "table/stopping" else name
        tables = table_cases(command, is_chosen=cell.__eq__)
        cases = [*scenario_cases(command, limit), *fault_cases(command), *tables]
    return next(case for case in cases if case.name == name)


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> Found:
    """Run the chosen cases once, some at a time; return the failures that the kit finds."""
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = {
        (spec.params["wrongness"], spec.params["name"])
        for spec in specs
        if spec is not None and "wrongness" in spec.params
    }
    wrong = [("worker", *each[:2]) for each in WRONG_WORKERS if each[:2] in chosen]
    wrong += [("driver", *each[:2]) for each in WRONG_DRIVERS if each[:2] in chosen]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_host, "SECONDS", 5.0)
        outcomes = list(run_cases([case_for(*each) for each in wrong]))
    failures = {
        each[1:]: outcome.failures for each, outcome in zip(wrong, outcomes, strict=True)
    }
    return lambda wrongness, name: failures[wrongness, name]


@pytest.mark.parametrize(("wrongness", "name", "check"), [*WRONG_WORKERS, *WRONG_DRIVERS])
def test_a_wrongness_is_seen_by_the_check_for_it(
    wrongness: str, name: str, check: str, found: Found
) -> None:
    failures = found(wrongness, name)
    assert check in {failure.check for failure in failures}, failures


def wrong_fault(tmp_path: Path, wrongness: str, **expect: object) -> list[Failure]:
    script = json.loads((FOLDER / "crash_mid_stream.json").read_text())
    script["expect"].update(expect)
    (tmp_path / "crash.json").write_text(json.dumps(script))
    driver = [sys.executable, str(HERE / "wrong_driver.py"), wrongness]
    return list(fault_cases(driver, tmp_path)[0].run())


def test_a_driver_that_holds_too_much_memory_is_seen(tmp_path: Path) -> None:
    failures = wrong_fault(tmp_path, "holds_memory", memory_mb=90)
    assert [failure.check for failure in failures] == ["memory"]
    assert wrong_fault(tmp_path, "takes_too_long", memory_mb=90) == []


def test_a_driver_that_is_slow_is_seen(tmp_path: Path) -> None:
    failures = wrong_fault(tmp_path, "takes_too_long", seconds=0.05)
    assert [failure.check for failure in failures] == ["time"]


def test_every_check_is_proven_here() -> None:
    sources = [
        path.read_text() for path in HERE.rglob("*.py") if not path.name.startswith("test_")
    ]
    named = set(re.findall(r'(?:Failure|_same)\(\s*"([a-z_ ]+)"', "\n".join(sources)))
    elsewhere = {"memory", "time", "kit", "stale"}  # above, and in test_kit.py
    assert named == {check for *_, check in [*WRONG_WORKERS, *WRONG_DRIVERS]} | elsewhere
