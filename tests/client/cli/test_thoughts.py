"""Thoughts on the command line: beside the answer, never in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factories.scripted import write_scripted_model
from mlxwire.cli.answer import Answer
from mlxwire.cli.arguments import Launch
from mlxwire.cli.session import Session
from mlxwire.results import Done, RequestMetrics
from support.memory_worker import MemoryWorker

from .conftest import Run, Terminal

DONE = Done(finish_reason="stop", tokens_generated=1, metrics=RequestMetrics())
ASK = "<think>let me see</think>42"
SCRIPT = ["<think>", "\nhm, ", "let me", "\n\n", "</think>", "\n\nHello", ", you", " all!"]


@pytest.mark.parametrize("command", [["chat"], ["generate", "--chat"]], ids=lambda c: c[0])
def test_thoughts_go_to_stderr_and_the_answer_alone_to_stdout(
    run: Run, command: list[str]
) -> None:
    shown = run(*command, "model", ASK, "--quiet")
    hidden = run(*command, "model", ASK, "--quiet", "--hide-thinking")

    assert (shown.stdout, shown.stderr) == ("42\n", "let me see\n")
    assert (hidden.stdout, hidden.stderr) == ("42\n", "")


def test_json_has_thoughts_apart_from_the_text_unless_they_are_hidden(run: Run) -> None:
    shown = json.loads(run("chat", "model", ASK, "--json").stdout)
    hidden = json.loads(run("chat", "model", ASK, "--json", "--hide-thinking").stdout)

    assert (shown["text"], shown["channels"]) == ("42", {"thinking": "let me see"})
    assert hidden["text"] == "42"
    assert "channels" not in hidden
    assert hidden["metrics"]["thinking_tokens"] == shown["metrics"]["thinking_tokens"] > 0


def test_the_figures_tell_how_many_tokens_were_thoughts(run: Run) -> None:
    assert "3 tokens · 3 of them thoughts" in run("chat", "model", ASK).stderr
    assert "thoughts" not in run("chat", "model", "42").stderr


@pytest.mark.parametrize("more", [[], ["--quiet"], ["--json", "-q"], ["--hide-thinking"]])
def test_an_answer_that_thoughts_left_no_tokens_for_says_what_to_do(
    run: Run, more: list[str]
) -> None:
    asked = ["chat", "model", "<think>let me see what that is</think>42", *more]
    cut = run(*asked, "--max-tokens", "2")
    whole = run(*asked, "--max-tokens", "20")

    assert "no answer: the model's thoughts took all tokens; raise --max-tokens" in cut.stderr
    assert "no answer" not in cut.stdout
    assert "no answer" not in whole.stderr


def test_an_answer_that_was_cut_after_its_thought_has_no_such_hint(run: Run) -> None:
    cut = run("chat", "model", "<think>hm</think>a long answer", "--max-tokens", "3")
    assert "a long" in cut.stdout + cut.stderr
    assert "no answer" not in cut.stderr


def test_thoughts_are_dimmed_on_a_terminal(terminal: Callable[..., Terminal]) -> None:
    session = terminal("chat", "model", ASK, "--quiet")
    shown, code = session.end()

    assert code == 0
    assert "\x1b[2;3mlet" in shown
    assert "let me see" in shown.replace("\x1b[2;3m", "").replace("\x1b[0m", "")
    assert shown.endswith("\x1b[0m\r\n42\r\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["generate", "m", "x", "--thinking"], "give --chat too"),
        (["generate", "m", "x", "--thinking-budget", "3"], "give --chat too"),
        (["chat", "m", "x", "--no-thinking", "--thinking-budget", "3"], "no use beside"),
        (["chat", "m", "x", "--thinking-budget", "-1"], "greater than or equal to 0"),
    ],
)
def test_options_that_can_not_hold_are_refused(
    invoke: Callable[..., Any], args: list[str], words: str
) -> None:
    done = invoke(*args)
    assert done.exit_code == 2
    assert words in done.output


def test_a_budget_ends_the_thought_of_a_real_model(run: Run, tmp_path: Path) -> None:
    folder = str(write_scripted_model(tmp_path / "thinker", SCRIPT))
    whole = json.loads(run("chat", folder, "x", "--engine", "mlx", "--json", "-q").stdout)
    args = ["--thinking-budget", "1", "--json", "-q"]
    short = json.loads(run("chat", folder, "x", "--engine", "mlx", *args).stdout)

    assert whole["channels"] == {"thinking": "hm, let me"}
    assert whole["text"] == "Hello, you all!"
    assert short["channels"]["thinking"].strip() in ("", "hm,")
    assert short["metrics"]["thinking_tokens"] < whole["metrics"]["thinking_tokens"]


async def test_a_session_keeps_thoughts_out_of_the_conversation() -> None:
    worker = MemoryWorker()
    await worker.greet()
    asked: list[list[dict[str, str]]] = []

    class Runner:
        """Note the conversation of each request, and answer it with a thought and a text."""

        def run(self, taking: Any) -> Answer:
            taking.close()
            asked.append(list(session._turns))
            return Answer("42", {"thinking": "hm"}, [], DONE, False)

    launch = Launch(path="m", quiet=True)
    session = Session(Runner(), worker.model, launch, opening=[], options={}, json=False)  # type: ignore[arg-type]
    session._turn("first")
    session._turn("second")
    await worker.connection.close()

    assert asked[1] == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "42"},
    ]
