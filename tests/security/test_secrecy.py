"""Prompts and generated text reach the host that asked, in answers to the request, and nothing else.

A canary stands wherever a host puts text; each request has its own. It may be in no stderr, at
no verbosity, in no other request's messages, and in no error that can't be told whose it is.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mlxwire
import mlxwire.sync
from mlxwire_worker.mock.engine import MockEngine
from mlxwire_worker.passes import Classified, ClassifyInput, ClassifyPrompts
from mlxwire_worker.prompts import (
    Prompt,
    SamplingParams,
    StepResult,
)
from support.driver import Driver, mock
from support.memory_host import MemoryHost
from support.tiny_model import TINY

CANARY = "canaryQZ"
VERBOSE = {
    "PYTHONDEVMODE": "1",
    "PYTHONFAULTHANDLER": "1",
    "RUST_BACKTRACE": "full",
    "RUST_LOG": "trace",
    "TRANSFORMERS_VERBOSITY": "debug",
    "HF_HUB_VERBOSITY": "debug",
    "MLX_LM_LOG_LEVEL": "DEBUG",
}
"""The worker has no option for more logs; these make its libraries say all that they can."""
Fields = dict[str, Any]


def turn(text: str, role: str = "user") -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


SERVED: dict[str, Callable[[str], Fields]] = {
    "generate": lambda c: {"cmd": "generate", "prompt": c, "max_tokens": 3},
    "chat": lambda c: {"cmd": "chat", "messages": turn(c), "max_tokens": 3},
    "system": lambda c: {"cmd": "chat", "messages": turn(c, "system") + turn(c)},
    "stop": lambda c: {"cmd": "generate", "prompt": "a b", "stop": [c], "max_tokens": 2},
    "batch": lambda c: {"cmd": "batch", "prompts": [c, f"{c} b"], "max_tokens": 2},
    "classify": lambda c: {"cmd": "classify", "prompts": [c], "labels": [c, "other"]},
    "warm": lambda c: {"cmd": "cache", "action": "warm", "prompt": c},
    "logprobs": lambda c: {"cmd": "generate", "prompt": c, "logprobs": True, "max_tokens": 2},
}
REFUSED: dict[str, Callable[[str], Fields]] = {
    "wrong type": lambda c: {"cmd": "generate", "prompt": c, "max_tokens": c},
    "no prompt": lambda c: {"cmd": "generate", "prompt": [c]},
    "unknown field": lambda c: {"cmd": "generate", "prompt": c, c: c},
    "unknown option": lambda c: {"cmd": "chat", "messages": [{"role": "user", "text": c}]},
    "number in a batch": lambda c: {"cmd": "batch", "prompts": [c, 5]},
    "out of range": lambda c: {"cmd": "generate", "prompt": c, "top_p": 2},
    "bias": lambda c: {"cmd": "generate", "prompt": c, "logit_bias": {c: 1}},
    "too long": lambda c: {"cmd": "generate", "prompt": f"{c} " * 600},
    "deadline": lambda c: {"cmd": "generate", "prompt": c, "deadline_seconds": 1e-9},
    "command": lambda c: {"cmd": c, "prompt": c},
}
LINES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda c: b'{"id":"ID","cmd":"generate","prompt":"%b' % c,
    "no JSON": lambda c: b"%b" % c,
    "bad escape": lambda c: b'{"id":"ID","prompt":"%b\\q"}' % c,
    "bad UTF-8": lambda c: b'{"id":"ID","prompt":"%b\xff"}' % c,
    "surrogate": lambda c: b'{"id":"ID","prompt":"%b\\ud800"}' % c,
    "a string": lambda c: b'"%b"' % c,
    "a list": lambda c: b'["%b"]' % c,
    "no number": lambda c: b'{"id":"ID","%b":NaN}' % c,
    "no command": lambda c: b'{"id":"ID","prompt":"%b"}' % c,
    "no id": lambda c: b'{"cmd":"generate","prompt":"%b"}' % c,
    "another id": lambda c: b'{"id":{"%b":1},"cmd":"generate"}' % c,
    "a long id": lambda c: b'{"id":"%b%b","cmd":"generate"}' % (c, b"x" * 130),
    "too long": lambda c: b'{"id":"ID","cmd":"generate","prompt":"%b"}' % (c * 9000),
}
"""Lines that can't be served: an error about one may quote nothing of it but a valid id."""


def make_mock() -> Driver:
    return mock("--max-line-bytes", "65536", environment=VERBOSE)


def make_tiny() -> Driver:
    return Driver("--max-line-bytes", "65536", environment=VERBOSE)


@pytest.fixture(params=[make_mock, make_tiny], ids=["mock", "tiny"])
def worker(request: pytest.FixtureRequest) -> Iterator[Driver]:
    with request.param() as started:
        yield started


def canary_of(request_id: str) -> str:
    """Return a word that is part of no other request's word."""
    return f"{CANARY}{request_id}Z"


def assert_kept(worker: Driver) -> None:
    """Check that each message has its own canary or none, and stderr has no canary and no text."""
    assert CANARY not in worker.stderr()
    for message in worker.order:
        own = canary_of(message["id"]) if message["id"] else "nobody's"
        assert CANARY not in json.dumps(message).replace(own, ""), message
    texts = [worker.text(request_id) for request_id in worker.messages if request_id]
    assert not [text for text in texts if len(text) > 12 and text in worker.stderr()]


def test_a_canary_stays_in_its_own_requests_messages(worker: Driver) -> None:
    worker.hello(client={"name": CANARY, "version": CANARY})
    worker.load(str(TINY), context_len=512)
    kinds = [*(SERVED | REFUSED).items()] * 2
    for number, (_, fields) in enumerate(kinds):
        worker.send(**fields(canary_of(f"r{number}")), request_id=f"r{number}")
    worker.final(worker.send("cancel", target="r0"))
    finals = {name: worker.final(f"r{number}") for number, (name, _) in enumerate(kinds)}

    refused = {name for name, final in finals.items() if final["type"] == "error"}
    assert refused == REFUSED.keys()
    assert_kept(worker)


def test_a_line_that_cant_be_served_is_not_quoted(worker: Driver) -> None:
    worker.hello()
    for number, line in enumerate(LINES.values()):
        worker.write(line(CANARY.encode()).replace(b"ID", b"r%d" % number) + b"\n")
    while len(worker.order) <= len(LINES):
        worker.receive()

    errors = worker.order[1:]
    assert all(message["type"] == "error" for message in errors)
    assert {message["id"] for message in errors} > {None, "r0"}
    assert CANARY not in json.dumps(errors)
    assert CANARY not in worker.stderr()


def test_in_dialect_0_a_line_that_is_none_is_not_quoted() -> None:
    with make_mock() as worker:
        worker.write(b'{"cmd":"info"}\n')
        assert b"error" in worker.read_line(20)
        for line in LINES.values():
            worker.write(line(CANARY.encode()) + b"\n")
        answers = [worker.read_line(20) for _ in LINES]

        assert CANARY.encode() not in b"".join(answers)
        assert CANARY not in worker.stderr()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
@pytest.mark.parametrize("engine", ["mock", "mlx"])
def test_a_crash_tells_no_text(engine: str, number: signal.Signals) -> None:
    options = ["--mock-step-seconds", "0.002"] if engine == "mock" else []
    started = mlxwire.sync.Worker(args=["--engine", engine, *options], env=VERBOSE)
    with started as worker:
        model = worker.load(str(TINY))
        stream = model.generate(f"{CANARY} and so on", max_tokens=6000, ignore_eos=True)
        next(stream)
        assert worker.pid is not None
        os.kill(worker.pid, number)
        with pytest.raises(mlxwire.WorkerCrashed) as crashed:
            list(stream)

    error = crashed.value
    # Python's faulthandler reads the frames of threads that run, and may fault itself thereby.
    assert error.signal in {number, signal.SIGSEGV}
    assert CANARY not in f"{error} {error.data} {error.stderr_tail}"
    assert "Fatal Python error" in error.stderr_tail


class LeakingEngine(MockEngine):
    """Raises what it was given to compute, at the place that the text names."""

    def text_prompt(self, text: str, params: SamplingParams, *, field: str) -> Prompt:
        self._leak(text, "prepare")
        return super().text_prompt(text, params, field=field)

    def classify_prompts(self, given: ClassifyInput, params: SamplingParams) -> ClassifyPrompts:
        assert isinstance(given.prompts[0], str)
        self._leak(given.prompts[0], "classify first")
        return super().classify_prompts(given, params)

    def add(self, prompt: Prompt) -> None:
        self._leak(self._text_of(prompt.ids), "add")
        super().add(prompt)

    def step(self) -> list[StepResult]:
        for prompt in self._running:
            self._leak(self._text_of(prompt.ids), "step")
        return super().step()

    def classify(self, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        self._leak(self._text_of(prompts.ids[0]), "classify")
        return super().classify(prompts)

    def save_cache(self, path: str) -> int:
        self._leak(path, "serve")
        return super().save_cache(path)

    def _text_of(self, ids: list[int]) -> str:
        return "".join(map(self._words.text_of, ids))

    def _leak(self, text: str, place: str) -> None:
        if text.endswith(place):
            raise ValueError(f"can't compute {text}") from KeyError(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"cmd": "generate", "prompt": f"{CANARY} prepare"},
        {"cmd": "generate", "prompt": f"{CANARY} add"},
        {"cmd": "generate", "prompt": f"{CANARY} step"},
        {"cmd": "classify", "prompts": [f"{CANARY} classify first"]},
        {"cmd": "classify", "prompts": [f"{CANARY} classify"]},
        {"cmd": "cache", "action": "save", "path": f"{CANARY} serve"},
    ],
    ids=lambda fields: str(list(fields.values())[-1]).split(maxsplit=1)[-1],
)
def test_an_internal_error_tells_its_place_and_no_text(
    fields: Fields, capfd: pytest.CaptureFixture[str]
) -> None:
    host = MemoryHost(LeakingEngine())
    host.hello()
    host.load()

    error = host.final(host.send(**fields))["error"]

    told = capfd.readouterr().err
    assert error["code"] == "internal"
    assert "ValueError at " in told
    assert "test_secrecy.py" in told
    assert CANARY not in told + json.dumps(error)


def test_a_template_that_fails_tells_the_host_alone(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in TINY.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").write_text(
        "{% if 'slow' in messages[0].content %}"
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        "{% endif %}{{ raise_exception('no ' + messages[0].content) }}"
    )
    with make_tiny() as worker:
        worker.hello()
        worker.load(str(folder))
        for request_id in ("quick", "slow"):
            text = f"{canary_of(request_id)} {request_id}"
            final = worker.final(
                worker.send("chat", messages=turn(text), request_id=request_id)
            )
            assert final["error"]["data"] == {"field": "messages"}
            assert (canary_of("quick") in final["error"]["message"]) is (request_id == "quick")

        assert_kept(worker)


def test_a_tokenizer_that_panics_tells_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in TINY.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    pattern = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}
    tokenizer["pre_tokenizer"] = {**pattern, "invert": False}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with make_tiny() as worker:
        worker.hello()
        worker.load(str(folder))
        final = worker.ask("generate", prompt=f"{CANARY} {'a' * 40}!", max_tokens=1)

        assert final["error"]["code"] == "unsupported_model"
        assert CANARY not in worker.stderr() + json.dumps(final)
