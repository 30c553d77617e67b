"""A training's program may do anything: its request ends once and typed, and the worker lives on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlxwire_worker.operations.training import child_task, events
from support.conversation import Message
from support.gated_engine import GatedEngine
from support.memory_host import Connect, MemoryHost
from support.skipping_clock import SkippingClock
from support.training_program import SECRET

from .conftest import Host


def failed(host: MemoryHost, **fields: Any) -> Message:
    """Train, return the error, and show that the worker still serves."""
    final = host.ask("train", **fields)
    assert final["type"] == "error", final
    assert host.ask("metrics")["type"] == "result"
    error: Message = final["error"]
    return error


def test_a_crash_names_its_signal_the_checkpoint_and_no_row_of_data(
    host_of: Host, rows: str, out: str
) -> None:
    error = failed(host_of("segfault"), data=rows, out=out)

    assert error["code"] == "training_failed"
    assert "SIGSEGV" in error["message"]
    assert error["data"]["signal"] == "SIGSEGV"
    assert error["data"]["checkpoint"] == str(Path(out) / "checkpoints" / "4")
    assert error["data"]["stderr"] == [
        "Traceback (most recent call last):",
        '  File "data.py", line 7, in rows',
        "ValueError",
    ]
    assert SECRET not in str(error)


def test_a_kill_from_outside_is_told_as_a_want_of_memory(
    host_of: Host, rows: str, out: str
) -> None:
    error = failed(host_of("killed"), data=rows, out=out)

    assert (error["code"], error["data"]["signal"]) == ("training_failed", "SIGKILL")
    assert "memory" in error["message"]
    assert "batch_size" in error["message"]
    assert error["data"]["checkpoint"] is None


def test_an_exit_without_a_result_names_its_code(host_of: Host, rows: str, out: str) -> None:
    error = failed(host_of("ends"), data=rows, out=out)

    assert error["code"] == "training_failed"
    assert "exit code 7" in error["message"]
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    "behaviour",
    [
        "garbage",
        "endless_line",
        "wrong_result",
        "wrong_progress",
        "two_results",
        "cancels_itself",
    ],
)
def test_a_program_that_does_not_keep_to_its_events_is_ended(
    host_of: Host, rows: str, out: str, behaviour: str
) -> None:
    assert failed(host_of(behaviour), data=rows, out=out)["code"] == "training_failed"


def test_a_program_s_own_error_is_passed_on(host_of: Host, rows: str, out: str) -> None:
    error = failed(host_of("own_error"), data=rows, out=out)

    assert (error["code"], error["data"]) == ("invalid_params", {"line": 3})


@pytest.mark.parametrize("retryable", [True, False])
def test_an_error_says_as_the_program_does_if_a_retry_may_help(retryable: bool) -> None:
    told = {"code": "out_of_memory", "message": "m", "retryable": retryable, "data": {}}

    assert events.as_error({"event": "error", **told}).retryable is retryable


def test_much_on_stderr_stops_no_program(host_of: Host, rows: str, out: str) -> None:
    assert host_of("noisy").ask("train", data=rows, out=out)["steps"] == 9


def test_a_program_that_stays_after_its_result_is_ended(
    host_of: Host, rows: str, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_task, "END_SECONDS", 0.0)

    assert host_of("lingers").ask("train", data=rows, out=out)["steps"] == 9


def test_a_program_that_can_t_be_started_is_unavailable(
    connect: Connect, engine: GatedEngine, rows: str, out: str
) -> None:
    engine.site = engine.training_site._replace(command=("/no/such/program",))

    assert failed(connect(), data=rows, out=out)["code"] == "unavailable"


def test_reports_that_come_too_fast_are_joined(host_of: Host, rows: str, out: str) -> None:
    host = host_of("storm")
    trained = host.send("train", data=rows, out=out)
    host.final(trained)
    reports = [m for m in host.messages[trained] if m["type"] == "progress"]

    assert len(reports) < 2500
    assert reports[-1]["step"] == 5000
    assert [m["validation_loss"] for m in reports if m["validation_loss"] is not None] == [0.25]
    means = [0, *(m["step"] for m in reports)]
    for before, report in zip(means, reports, strict=False):
        assert report["loss"] == pytest.approx((before + 1 + report["step"]) / 2)


def test_a_cancel_lets_the_program_save(host_of: Host, rows: str, out: str) -> None:
    host = host_of("saves")
    trained = host.send("train", data=rows, out=out)
    host.until(lambda m: m["type"] == "progress", trained)
    assert host.ask("cancel", target=trained)["outcome"] == "accepted"
    final = host.final(trained)

    assert final["finish_reason"] == "cancelled"
    assert final["checkpoint"] == str(Path(out) / "checkpoints" / "5")
    assert final["step"] == 5


def test_a_deadline_lets_the_program_save(
    host_of: Host, rows: str, out: str, clock: SkippingClock
) -> None:
    host = host_of("saves")
    trained = host.send("train", data=rows, out=out, deadline_seconds=1000)
    host.until(lambda m: m["type"] == "progress", trained)
    clock.skip(2000)
    error = host.final(trained)["error"]

    assert error["code"] == "deadline_exceeded"
    assert error["data"]["checkpoint"] == str(Path(out) / "checkpoints" / "5")


def test_a_program_that_does_not_hear_a_cancel_is_ended(
    host_of: Host, rows: str, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_task, "SAVE_SECONDS", 0.0)
    host = host_of("deaf")
    trained = host.send("train", data=rows, out=out)
    host.until(lambda m: m["type"] == "progress", trained)
    host.ask("cancel", target=trained)
    final = host.final(trained)

    assert final["checkpoint"] == str(Path(out) / "checkpoints" / "12")
    assert final["step"] == 12


def test_the_exit_of_a_worker_ends_the_program(host_of: Host, rows: str, out: str) -> None:
    host = host_of("deaf")
    trained = host.send("train", data=rows, out=out)
    host.until(lambda m: m["type"] == "progress", trained)
    host.exit()

    assert host.final(trained)["error"]["data"]["signal"] == "SIGKILL"


def test_an_evaluation_names_no_checkpoint(host_of: Host, rows: str) -> None:
    host = host_of("garbage")
    error = host.ask("evaluate", data=rows)["error"]

    assert error["code"] == "training_failed"
    assert "checkpoint" not in error["data"]


def test_the_program_gets_every_option_and_none_of_the_host_s_secrets(
    host_of: Host, rows: str, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "s3cret")
    told = failed(host_of("echo"), data=rows, out=out, iterations=7, rank=3)["data"]
    task = told["task"]

    assert (task["task"], task["model"], task["adapter"]) == ("train", "model", None)
    assert task["options"]["iterations"] == 7
    assert task["options"]["rank"] == 3
    assert task["options"]["out"] == out
    assert task["options"]["save_every"] == 100
    assert told["secret"] is None
    assert told["path"]
