"""Faults of the process: how a worker starts, hears, dies and does not die."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import time

import pytest

from support.patience import PATIENCE_SECONDS

from .conftest import GENERATE, LONG, OPENING, Play, Start

TOKEN = {"phase": "request", "type": "token", "nth": 2}
QUIT = {"id": "q", "cmd": "quit"}


def say(process: subprocess.Popen[bytes], *requests: dict) -> None:
    assert process.stdin is not None
    for request in requests:
        process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[bytes], kind: str, request_id: str) -> dict:
    """Wait for the first reply of that type to that request; skip what comes before it."""
    assert process.stdout is not None
    while line := process.stdout.readline():
        message = json.loads(line)
        if (message["type"], message["id"]) == (kind, request_id):
            return message
    raise AssertionError(f"stdout ended, and no {kind} of {request_id} had come")


def opened(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    say(process, *OPENING)
    hear(process, "result", "l")
    return process


def lives_on(process: subprocess.Popen[bytes]) -> bool:
    """Return True if the process still runs half a second later, far longer than an end takes."""
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        return True
    return False


def test_an_exit_before_it_is_spoken_to(play: Play) -> None:
    played = play({"kind": "exit", "phase": "start", "code": 7}, requests=[])
    assert (played.returncode, played.stdout) == (7, b"")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM"])
def test_a_crash_by_a_signal_cuts_a_line_off(play: Play, name: str) -> None:
    played = play({**TOKEN, "kind": "crash", "signal": name, "after_bytes": 20})
    assert played.returncode == -signal.Signals[name]
    assert played.stdout.endswith(b'\n{"id":"g","type":"to')


def test_an_exit_after_the_whole_message_leaves_it_whole(play: Play) -> None:
    played = play({**TOKEN, "kind": "exit", "after_bytes": 100000, "code": 4})
    assert played.returncode == 4
    assert played.kinds("g") == ["token", "token"]


def test_a_crash_at_each_start_answers_hello_first(play: Play) -> None:
    loop = {"kind": "crash", "phase": "start", "command": "hello", "after_bytes": 100000}
    for _ in range(2):
        played = play(loop)
        assert played.returncode == -signal.SIGKILL
        assert [each["id"] for each in played.replies()] == ["h"]


def test_a_silent_worker_says_nothing_more_and_ends_at_eof(play: Play) -> None:
    assert play({"kind": "silent", "phase": "start"}).stdout == b""
    played = play({**TOKEN, "kind": "silent"})
    assert played.kinds("g") == ["token"]
    assert played.returncode == 0


def test_a_stall_takes_its_time_and_then_all_goes_on(play: Play) -> None:
    began = time.monotonic()
    played = play({**TOKEN, "kind": "stall", "seconds": 0.5})
    assert time.monotonic() - began >= 0.5
    assert played.kinds("g")[-1] == "done"


@pytest.mark.parametrize("line_bytes", [0, 100])
def test_stderr_is_flooded_with_and_without_newlines(play: Play, line_bytes: int) -> None:
    fault = {"kind": "stderr", "phase": "start", "bytes": 200000, "line_bytes": line_bytes}
    stderr = play(fault).stderr.partition(b", at start\n")[2]
    assert len(stderr) == 200000
    assert stderr.count(b"\n") == (2000 if line_bytes else 0)


def test_a_closed_stdout_ends_while_the_worker_lives(start: Start) -> None:
    process = opened(start({**TOKEN, "kind": "close", "pipe": "stdout"}))
    say(process, GENERATE)
    assert process.stdout is not None
    assert process.stdout.read().count(b"\n") == 1
    assert lives_on(process)


def test_a_closed_stdin_breaks_the_hosts_pipe_while_the_worker_lives(start: Start) -> None:
    process = opened(
        start({"kind": "close", "phase": "load", "type": "result", "pipe": "stdin"})
    )
    with pytest.raises(BrokenPipeError):
        say(process, GENERATE)
    assert lives_on(process)
    with pytest.raises(BrokenPipeError):
        process.stdin.close()


def test_a_deaf_worker_reads_nothing_and_misses_the_end(start: Start) -> None:
    process = opened(start({"kind": "deaf", "phase": "load", "type": "result"}))
    say(process, GENERATE)
    process.stdin.close()
    assert lives_on(process)
    assert select.select([process.stdout], [], [], 0) == ([], [], [])
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGTERM


def test_an_end_that_is_ignored_in_all_ways(start: Start) -> None:
    process = opened(
        start(
            {"kind": "ignore", "phase": "end", "command": "quit"},
            {"kind": "ignore_eof", "phase": "end"},
            {"kind": "ignore_sigterm", "phase": "end"},
        )
    )
    say(process, QUIT, GENERATE)
    hear(process, "done", "g")
    process.stdin.close()
    assert lives_on(process)
    process.terminate()
    assert lives_on(process)


def test_an_ignored_quit_leaves_the_end_of_stdin(start: Start) -> None:
    process = opened(start({"kind": "ignore", "phase": "end", "command": "quit"}))
    say(process, QUIT)
    assert lives_on(process)
    process.stdin.close()
    assert process.wait(PATIENCE_SECONDS) == 0


def test_an_ignored_end_of_stdin_leaves_quit(start: Start) -> None:
    process = opened(start({"kind": "ignore_eof", "phase": "end"}))
    say(process, QUIT)
    assert process.wait(PATIENCE_SECONDS) == 0


def test_a_megabyte_comes_before_the_answer_to_quit(play: Play) -> None:
    extra = {"id": "$id", "type": "progress", "stage": "flush", "done": 0, "total": 1}
    fault = {"kind": "insert", "phase": "end", "message": extra, "times": 16000}
    played = play(fault, requests=[QUIT])
    assert len(played.replies("q")) == 16001
    assert played.replies("q")[-1]["final"]


@pytest.mark.parametrize("own_session", [False, True])
def test_a_grandchild_holds_the_pipes(start: Start, own_session: bool) -> None:
    fault = {"kind": "grandchild", "phase": "load", "seconds": 1, "own_session": own_session}
    process = opened(start(fault))
    say(process, QUIT)
    assert process.wait(PATIENCE_SECONDS) == 0
    hear(process, "result", "q")
    assert select.select([process.stdout], [], [], 0) == ([], [], [])
    assert process.stdout.read() == b""  # it comes when the grandchild is gone


def test_a_cancel_that_is_not_heard(play: Play) -> None:
    requests = [{**LONG, "max_tokens": 5000}, {"id": "c", "cmd": "cancel", "target": "g"}]
    played = play({"kind": "ignore", "phase": "cancel"}, requests=requests)
    assert played.kinds("c") == []
    assert played.replies("g")[-1]["finish_reason"] == "length"


def test_a_late_cancel_takes_its_time(start: Start) -> None:
    process = opened(start({"kind": "late", "phase": "cancel", "seconds": 0.3}))
    began = time.monotonic()
    say(process, {**LONG, "window": 1}, {"id": "c", "cmd": "cancel", "target": "g"})
    assert hear(process, "done", "g")["finish_reason"] == "cancelled"
    assert time.monotonic() - began >= 0.3


def test_a_cancel_may_leave_its_target_without_an_end(play: Play) -> None:
    requests = [{**LONG, "window": 1}, {"id": "c", "cmd": "cancel", "target": "g"}]
    played = play({"kind": "unended", "phase": "cancel"}, requests=requests)
    assert played.replies("c")[0]["outcome"] == "accepted"
    assert "done" not in played.kinds("g")


def test_a_target_may_outrun_its_cancel(play: Play) -> None:
    requests = [{**LONG, "window": 1}, {"id": "c", "cmd": "cancel", "target": "g"}]
    replies = play({"kind": "race", "phase": "cancel"}, requests=requests).replies()
    done, answer = [each for each in replies if each["id"] in "gc" and each.get("final")]
    assert (done["id"], done["finish_reason"]) == ("g", "length")
    assert "stage" not in done
    assert (answer["id"], answer["outcome"], answer["cancelled"]) == ("c", "finished", 0)


def test_a_worker_with_faults_ends_with_its_host(start: Start) -> None:
    process = opened(start({"kind": "deaf", "phase": "load", "type": "result"}))
    process.stdout.close()
    assert process.wait(PATIENCE_SECONDS) == 3
