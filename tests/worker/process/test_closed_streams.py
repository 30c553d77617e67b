"""A worker whose standard streams are closed at its start uses no other descriptor in their place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.driver import WORKER
from support.patience import PATIENCE_SECONDS

LINES = (
    b'{"id":"h","cmd":"hello","protocols":[1]}\n{"id":"l","cmd":"load","path":"m"}\n'
    b'{"id":"g","cmd":"generate","prompt":"one two"}\n{"id":"q","cmd":"quit"}\n'
)


def closed(redirections: str, tmp_path: Path) -> tuple[int, bytes, bytes]:
    """Run a worker below a shell's redirections; return its exit code, stdout and stderr."""
    command = ["/bin/sh", "-c", f'exec "$@" {redirections}', "sh", *WORKER, "--engine", "mock"]
    ran = subprocess.run(
        command, input=LINES, capture_output=True, timeout=PATIENCE_SECONDS, cwd=tmp_path
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize("others", ["", "<&-", "2>&-", "<&- 2>&-", "2>/dev/null"])
def test_without_stdout_a_worker_exits_3_at_once(others: str, tmp_path: Path) -> None:
    code, stdout, stderr = closed(f">&- {others}", tmp_path)

    assert (code, stdout) == (3, b"")
    assert b"Traceback" not in stderr
    assert (b"stdout is closed" in stderr) == ("2>" not in others)


@pytest.mark.parametrize("others", ["", "2>&-"])
def test_without_stdin_a_worker_ends_as_at_the_end_of_stdin(
    others: str, tmp_path: Path
) -> None:
    assert closed(f"<&- {others}", tmp_path) == (0, b"", b"")


def test_without_stderr_a_worker_serves_and_writes_its_messages_nowhere(tmp_path: Path) -> None:
    code, stdout, stderr = closed("2>&-", tmp_path)

    assert (code, stderr) == (0, b"")
    assert stdout.count(b'"final":true') == 4
    assert all(line.startswith(b"{") for line in stdout.splitlines())


@pytest.mark.parametrize("streams", ["</dev/null", "0>written"])
def test_a_stdin_that_cant_be_read_has_ended(streams: str, tmp_path: Path) -> None:
    assert closed(streams, tmp_path) == (0, b"", b"")


@pytest.mark.parametrize("streams", [">/dev/full", "1</dev/null"])
def test_a_stdout_that_cant_be_written_is_closed(streams: str, tmp_path: Path) -> None:
    code, stdout, stderr = closed(streams, tmp_path)

    assert (code, stdout, stderr) == (3, b"", b"")


@pytest.mark.parametrize("option", ["--help", "--version", "--print-schema"])
@pytest.mark.parametrize("streams", [">&-", ">/dev/full"])
def test_what_is_printed_for_people_fails_without_a_traceback(
    option: str, streams: str, tmp_path: Path
) -> None:
    ran = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {streams}', "sh", *WORKER, option],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        cwd=tmp_path,
    )

    assert ran.returncode == 3
    assert b"stdout" in ran.stderr
    assert b"Traceback" not in ran.stderr
