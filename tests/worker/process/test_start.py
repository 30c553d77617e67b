"""A worker stays silent and idle until its host speaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.driver import Driver, mock
from support.patience import PATIENCE_SECONDS

NOISY = """
import os, sys
from mlxwire_worker.mock import engine as mock_engine
def preload(self):
    print("a stray print")
    os.write(1, b"a stray write\\n")
    os.system("echo a stray child")
    os.system("for n in 3 4 5 6 7 8 9; do echo a stray descriptor >&$n; done 2>/dev/null")
    subprocess.run(["cat"], timeout=60)  # would wait for ever on the wire
    print("read:", repr(sys.stdin.read()))
import subprocess
mock_engine.MockEngine.preload = preload
from mlxwire_worker.__main__ import main
main()
"""
TELLING = """
import sys
from mlxwire_worker import worker
from mlxwire_worker.requests.conversation import Conversation
follow = Conversation.follow
def telling(self, events):
    follow(self, events)
    heavy = {"mlx", "mlx_lm", "transformers", "tokenizers", "jinja2", "numpy"} & sys.modules.keys()
    print("heavy:", sorted(heavy), file=sys.stderr)
Conversation.follow = telling
from mlxwire_worker.mlx_engine.engine import MlxEngine
MlxEngine.preload = lambda self: None
from mlxwire_worker.__main__ import main
main()
"""
UNHEARD = """
import os
from mlxwire_worker.mock.engine import MockEngine
def text_prompt(self, text, params, *, field):
    raise RuntimeError("told on stderr")
MockEngine.text_prompt = text_prompt
unread, stderr = os.pipe()
os.dup2(stderr, 2)
os.close(unread)
from mlxwire_worker.__main__ import main
main()
"""


def test_a_worker_says_nothing_before_its_host_does() -> None:
    with mock() as worker:
        hello = worker.hello()

        assert hello["worker"]["pid"] == worker.process.pid
        assert worker.order == [hello]


def test_hello_names_the_engine_the_limits_and_the_capabilities() -> None:
    with mock("--max-inflight", "7", "--max-line-bytes", "4096") as worker:
        result = worker.hello(require=["generate", "cancel", "dialect0"], events=["unheard_of"])

        assert result["protocol"] == 1
        assert result["worker"]["engine"] == "mock"
        assert result["limits"] == {"max_line_bytes": 4096, "max_inflight": 7}
        assert result["capabilities"]["hub"] is False
        assert result["events"] == []


def test_hello_is_answered_before_anything_heavy_is_imported() -> None:
    with Driver(command=(sys.executable, "-c", TELLING)) as worker:
        worker.hello()
        worker.ask("quit")
        worker.wait()

        assert "heavy: []" in worker.stderr()


def test_a_stray_print_a_stray_write_and_a_stray_child_never_reach_the_wire() -> None:
    with Driver("--engine", "mock", command=(sys.executable, "-c", NOISY)) as worker:
        worker.hello()
        worker.load()
        worker.ask("quit")

        assert worker.wait() == 0
        assert {m["type"] for m in worker.drain()} == {"result", "progress"}
        lines = worker.stderr().splitlines()
        for stray in ("a stray print", "a stray write", "a stray child", "read: ''"):
            assert stray in lines


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-such-option",),
        ("--model-root", "no/such"),
        ("--data-root", "no/such"),
        ("--max-inflight", "0"),
        ("--max-line-bytes", "-1"),
        ("--max-line-bytes", "1.5"),
        ("--max-inflight", "many"),
        ("--flush-seconds", "soon"),
        ("--heartbeat-seconds", ""),
        ("--mock-step-seconds", "nan"),
        ("--parent-pid", "host"),
    ],
)
def test_a_wrong_command_line_exits_2_and_says_so_on_stderr(arguments: tuple[str, ...]) -> None:
    with Driver(*arguments) as worker:
        assert worker.wait() == 2
        assert worker.drain() == []
        told = worker.stderr().splitlines()[-1]
        assert all(word in told for word in arguments)
        assert len(arguments) == 1 or "; give " in told


def test_a_worker_without_stderr_serves_all_the_same() -> None:
    program = (
        "import os, subprocess, sys; os.close(2);"
        "sys.exit(subprocess.call([sys.executable, '-m', 'mlxwire_worker', '--engine', 'mock']))"
    )
    lines = (
        b'{"id":"h","cmd":"hello","protocols":[1]}\n{"id":"l","cmd":"load","path":"m"}\n'
        b'{"id":"q","cmd":"quit"}\n'
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        input=lines,
        stdout=subprocess.PIPE,
        timeout=PATIENCE_SECONDS,
    )

    assert ran.returncode == 0
    assert ran.stdout.count(b'"final":true') == 3


def test_a_worker_whose_stderr_nobody_reads_any_more_serves_all_the_same() -> None:
    with Driver("--engine", "mock", command=(sys.executable, "-c", UNHEARD)) as worker:
        worker.hello()
        worker.load()

        assert worker.ask("generate", prompt="x")["error"]["code"] == "internal"
        assert worker.ask("generate", prompt="y")["error"]["code"] == "internal"


def test_without_stderr_stray_output_does_not_go_back_on_a_hosts_socket() -> None:
    program = (
        f"import os, sys; os.close(2); noisy = [sys.executable, '-c', {NOISY!r}];"
        "os.execv(sys.executable, [*noisy, '--engine', 'mock'])"
    )
    with Driver(command=(sys.executable, "-c", program), sockets=True) as worker:
        worker.hello()
        worker.load()
        worker.ask("quit")

        assert worker.wait() == 0
        assert {m["type"] for m in worker.drain()} == {"result", "progress"}
        assert worker.came_back_on_stdin() == b""


def test_help_version_and_schema_are_for_people_and_go_to_stdout() -> None:
    def printed(option: str) -> bytes:
        command = [sys.executable, "-P", "-m", "mlxwire_worker", option]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=PATIENCE_SECONDS,
        ).stdout

    assert b"--drain-on-eof" in printed("--help")
    assert printed("--version").startswith(b"mlxwire-worker ")
    assert b"$defs" in printed("--print-schema")
