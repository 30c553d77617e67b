"""`mlxwire generate` and the one-shot `mlxwire chat`, in pipes."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from support.patience import PATIENCE_SECONDS
from support.tiny_model import TINY, needs_tiny

from .conftest import COMMAND, MOCK, SLOW_MOCK, environment


def test_the_text_is_on_stdout_and_the_figures_are_on_stderr(invoke):
    result = invoke("generate", "m", "one two three")
    assert result.exit_code == 0
    assert result.stdout == "one two three\n"
    assert "3 tokens · " in result.stderr
    assert result.stderr.endswith("· stop\n")
    assert "\x1b" not in result.output


def test_quiet_leaves_stderr_empty(invoke):
    result = invoke("chat", "m", "hello", "--quiet")
    assert (result.stdout, result.stderr) == ("hello\n", "")


def test_a_text_that_ends_with_a_newline_gets_no_second_one(invoke):
    assert invoke("generate", "m", "one\n").stdout == "one\n"


def test_a_dash_reads_the_prompt_from_stdin_without_its_last_newline(invoke):
    result = invoke("generate", "m", "-", "--json", stdin="one\ntwo\n")
    assert json.loads(result.stdout)["text"] == "one\ntwo"


def test_json_is_one_object_with_text_finish_reason_and_metrics(invoke):
    result = invoke("generate", "m", "a b c", "--max-tokens", "2", "--json")
    answer = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert (answer["text"], answer["finish_reason"]) == ("a b", "length")
    assert answer["tokens_generated"] == answer["metrics"]["generated_tokens"] == 2


def test_json_may_tell_each_tokens_log_probability(invoke):
    result = invoke("generate", "m", "a b", "--logprobs", "--json")
    tokens = json.loads(result.stdout)["tokens"]
    assert [token["text"] for token in tokens] == ["a", " b"]
    assert all(token["logprob"] <= 0 and token["id"] > 0 for token in tokens)


def test_options_reach_the_worker(invoke):
    stopped = invoke("generate", "m", "a b c d", "--stop", "x", "--stop", "c")
    assert stopped.stdout == "a b \n"
    endless = invoke("generate", "m", "a ", "--ignore-eos", "--max-tokens", "3", "--seed", "1")
    assert endless.stdout == "a a\n"
    assert invoke("generate", "m", "a b", "--max-tokens", "0").stdout == "\n"
    small = invoke("generate", "m", "a b c d", "--context-len", "3")
    assert small.stderr.startswith("error: context_overflow: ")


def test_generate_can_go_through_the_chat_template(invoke):
    assert invoke("generate", "m", "hello", "--chat").stdout == "hello\n"
    assert "--chat / --raw" in invoke("generate", "--help").stdout


def test_a_chat_shows_the_question_on_stderr(invoke):
    result = invoke("chat", "m", "What is 2 + 3?")
    assert result.stdout == "What is 2 + 3?\n"
    assert result.stderr.startswith("> What is 2 + 3?\n")


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_a_pipe_is_put_before_the_message_or_is_the_message(invoke, command):
    for args, stdin, asked in (
        (["and?"], "one\n\ntwo\n", "one\n\ntwo\n\nand?"),
        (["and?"], "", "and?"),
        ([], "one\ntwo\n", "one\ntwo"),
        (["-"], "one\ntwo", "one\ntwo"),
    ):
        result = invoke(command, "m", *args, "--json", stdin=stdin)
        assert json.loads(result.stdout)["text"] == asked


def test_a_device_is_no_pipe():
    command = [*COMMAND, "chat", "m", "one", "-q"]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment()
    )
    assert (result.returncode, result.stdout) == (0, "one\n")


def test_log_probabilities_follow_the_text(invoke):
    result = invoke("generate", "m", "a b", "--logprobs")
    text, first, second = result.stdout.splitlines()
    assert text == "a b"
    for line, token in ((first, "'a'"), (second, "' b'")):
        logprob, token_id, shown = line.split(maxsplit=2)
        assert float(logprob) <= 0
        assert int(token_id) > 0
        assert shown == token


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["generate", "m", "x", "--top-p", "3"], "--top-p"),
        (["generate", "m", "x", "--frequency-penalty", "101"], "--frequency-penalty"),
        (["generate", "m", ""], "PROMPT"),
        (["chat", "m", ""], "MESSAGE"),
        (["generate", "m"], "PROMPT"),
        (["sing"], "sing"),
    ],
)
def test_wrong_usage_exits_2_and_names_the_argument(invoke, args, named):
    result = invoke(*args)
    assert result.exit_code == 2
    assert named in result.stderr
    assert result.stdout == ""


def test_who_reads_one_line_and_leaves_causes_no_complaint():
    with subprocess.Popen(
        [*COMMAND, "generate", "m", "one\n two", "--ignore-eos", "--max-tokens", "8000"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(SLOW_MOCK),
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "one\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE_SECONDS) == 141


def test_an_interrupted_answer_exits_130_and_keeps_what_came(run, worker_that):
    worker = worker_that("os.kill(os.getppid(), signal.SIGINT)")
    endless = ("generate", "m", "one two", "--ignore-eos", "--max-tokens", "8000")
    result = run(*endless, worker=worker)
    assert result.returncode == 130
    assert result.stdout.startswith("one twoone")
    assert result.stderr.endswith("· cancelled\n")
    assert result.stderr.count("\n") == 1
    answer = json.loads(run(*endless, "--json", worker=worker).stdout)
    assert answer["text"].startswith("one twoone")
    assert (answer["finish_reason"], answer["stage"]) == ("cancelled", "decode")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*COMMAND, "generate", "m", "x"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    assert result.returncode == 1
    assert result.stderr == "error: os_error: No space left on device\n"


@needs_tiny
def test_the_tiny_model_adds(invoke):
    worker = MOCK.replace("mock", "mlx")
    result = invoke("chat", str(TINY), "What is 2 + 3?", worker=worker)
    assert (result.exit_code, result.stdout) == (0, "5\n")
