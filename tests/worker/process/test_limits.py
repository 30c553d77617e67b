"""The worker answers a lack of its surroundings with a code and a remedy, never with `internal`."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.text import template_process
from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from mlxwire_worker.requests.failures import failure_of
from support.conversation import Message
from support.driver import WORKER, Driver
from support.tiny_model import TINY

linux = pytest.mark.skipif(sys.platform != "linux", reason="macOS ignores `ulimit -v`")


def limited(limit: str) -> Driver:
    """Start a worker below a `ulimit`."""
    return Driver(command=["/bin/sh", "-c", f'ulimit {limit}; exec "$@"', "sh", *WORKER])


def errors_under(limit: str) -> list[Message]:
    """Load, chat and generate twice below a `ulimit`; return the errors."""
    with limited(limit) as worker:
        worker.hello()
        finals = []
        for _ in range(2):
            finals.append(worker.ask("load", path=str(TINY), warmup=False))
            messages = [{"role": "user", "content": "hi"}]
            finals.append(worker.ask("chat", messages=messages, max_tokens=1))
            finals.append(worker.ask("generate", prompt="Once", max_tokens=1))
        worker.ask("quit")
        assert worker.wait() == 0
    return [final["error"] for final in finals if final["type"] == "error"]


@pytest.mark.parametrize("count", [6, 8, 10, 12, 14])
def test_too_few_descriptors_are_unavailable_with_the_remedy(count: int) -> None:
    for error in errors_under(f"-n {count}"):
        if error["code"] != "model_not_loaded":
            assert (error["code"], error["retryable"]) == ("unavailable", True)
            assert "ulimit -n" in error["message"]
        assert count < 12  # twelve are enough


@pytest.mark.parametrize("count", [4, 5])
def test_a_worker_that_can_open_nothing_says_why_in_its_last_line(count: int) -> None:
    with limited(f"-n {count}") as worker:
        assert worker.wait() == 1
        assert "Too many open files" in worker.stderr().splitlines()[-1]


@linux
@pytest.mark.parametrize(
    ("kind", "mebibytes"), [("v", 64), ("v", 100), ("v", 400), ("v", 530), ("d", 100)]
)
def test_too_little_memory_is_out_of_memory_with_the_remedy(kind: str, mebibytes: int) -> None:
    first, *others = [
        error
        for error in errors_under(f"-{kind} {mebibytes << 10}")
        if error["code"] != "model_not_loaded"
    ]

    assert (first["code"], first["retryable"]) == ("out_of_memory", True)
    assert f"ulimit -{kind}" in first["message"]
    assert {error["code"] for error in others} == {"out_of_memory"}


@linux
def test_a_worker_without_memory_for_its_threads_ends_with_one_line() -> None:
    with limited(f"-v {40 << 10}") as worker:
        worker.hello()
        assert worker.wait() == 1
        (line,) = worker.stderr().splitlines()
        assert "raise the limits" in line


DYING = """
import threading
from mlxwire_worker.process.writer import Writer
def run(self):
    raise MemoryError
Writer._run = run
from mlxwire_worker.__main__ import main
main()
"""


def test_a_worker_that_loses_a_thread_ends_instead_of_hanging() -> None:
    with Driver("--engine", "mock", command=(sys.executable, "-P", "-c", DYING)) as worker:
        assert worker.wait() == 1
        assert "writer ended: MemoryError" in worker.stderr()


def caused_by(cause: BaseException, error: Exception) -> Exception:
    try:
        try:
            raise cause
        except BaseException:
            raise error from None
    except Exception as caught:
        return caught


class PanicException(BaseException):
    """A panic of Rust code, such as the tokenizers library's."""


NO_THREAD = "ThreadPoolBuildError { kind: IOError(Os { code: 11 }) }"


def broken() -> WireError:
    return WireError("model_load_failed", "config.json can't be read")


@pytest.mark.parametrize(
    ("error", "code", "remedy"),
    [
        (OSError(errno.EMFILE, "x"), "unavailable", "ulimit -n"),
        (OSError(errno.ENFILE, "x"), "unavailable", "other programs"),
        (BlockingIOError(errno.EAGAIN, "fork"), "unavailable", "ulimit -u"),
        (RuntimeError("can't start new thread"), "unavailable", "ulimit -u"),
        (OSError(errno.ENOSPC, "x", "/a/b"), "unavailable", "(/a)"),
        (OSError(errno.EDQUOT, "x"), "unavailable", "quota"),
        (OSError(errno.EFBIG, "x"), "unavailable", "ulimit -f"),
        (OSError(errno.ENOMEM, "x"), "out_of_memory", "ulimit -v"),
        (MemoryError(), "out_of_memory", "smaller model"),
        (RuntimeError("[malloc] Unable to allocate 9 bytes"), "out_of_memory", "smaller model"),
        (ImportError("libx.so: failed to map segment from shared object"), "out_of_memory", ""),
        (
            caused_by(OSError(errno.EMFILE, "x"), ImportError("numpy")),
            "unavailable",
            "ulimit -n",
        ),
        (caused_by(OSError(errno.EMFILE, "x"), broken()), "unavailable", "ulimit -n"),
        (caused_by(PanicException(NO_THREAD), broken()), "unavailable", "ulimit -u"),
        (caused_by(MemoryError(), broken()), "model_load_failed", ""),
        (broken(), "model_load_failed", ""),
        (ValueError("a prompt about: out of memory"), "internal", ""),
        (ValueError("a prompt about: [Compile::eval_cpu]"), "internal", ""),
        (
            RuntimeError("libx.so: failed to map segment: Operation not permitted"),
            "internal",
            "",
        ),
    ],
)
def test_each_lack_has_its_code_and_its_remedy(
    error: Exception, code: str, remedy: str
) -> None:
    failure = failure_of(error)

    assert failure.code == code
    assert remedy in failure.message
    assert failure.retryable == (code in ("unavailable", "out_of_memory"))


def test_a_template_process_that_cant_be_started_is_unavailable_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    helper = TemplateProcess()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", fail)
        helper.start()
        with pytest.raises(WireError) as raised:
            helper.render("{{ 1 }}", {})
    try:
        assert raised.value.code == "unavailable"
        assert "ulimit -u" in raised.value.message
        assert helper.render("{{ 1 }}", {}) == "1"
    finally:
        helper.close()


@linux
def test_a_template_process_that_ends_before_it_is_ready_is_not_the_templates_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(template_process.sys, "executable", "/bin/false")

    with pytest.raises(WireError) as raised:
        TemplateProcess().render("{{ 1 }}", {})

    assert raised.value.code == "unavailable"
