"""`mlxwire tokens`: the tokens of a text, for people and for scripts."""

from __future__ import annotations

import json

import pytest

from mlxwire import Tokenized, Worker
from mlxwire.cli.tokens import in_lines
from support.tiny_model import TINY, needs_tiny

from .conftest import MOCK

MLX = MOCK.replace("mock", "mlx")


def test_each_line_has_an_id_and_a_quoted_piece(invoke):
    result = invoke("tokens", "m", "one two")
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert [piece for _, piece in lines] == ["'one'", "' two'"]
    assert all(int(token_id) > 0 for token_id, _ in lines)
    assert (result.exit_code, result.stderr) == (0, "")


def test_ids_are_aligned_and_no_piece_can_steer_a_terminal():
    pieces = ["\x1b[31m", "\x9b", "\n", "\u202e", "\u00a0", "é🚀", "�"]
    ids = [7, 10, 200, 3, 4, 5, 6]
    lines = in_lines(Tokenized(ids=ids, count=7, pieces=pieces)).splitlines()
    assert lines == [
        r"  7  '\x1b[31m'",
        r" 10  '\x9b'",
        r"200  '\n'",
        r"  3  '\u202e'",
        r"  4  '\xa0'",
        "  5  'é🚀'",
        "  6  '�'",
    ]


def test_the_count_and_the_ids_come_alone(invoke):
    assert invoke("tokens", "m", "one two", "--count").stdout == "2\n"
    found = json.loads(invoke("tokens", "m", "one two", "--json").stdout)
    assert found == {"ids": found["ids"], "count": 2, "pieces": ["one", " two"]}
    first, second = found["ids"]
    assert invoke("tokens", "m", "one two", "--ids").stdout == f"{first} {second}\n"


@pytest.mark.parametrize("text", [["-"], []])
def test_the_text_comes_from_a_pipe_without_its_last_newline(invoke, text):
    result = invoke("tokens", "m", *text, "--json", stdin="one\ntwo\n")
    assert json.loads(result.stdout)["pieces"] == ["one", "\ntwo"]


@pytest.mark.parametrize(
    ("options", "shown"), [([], ""), (["--count"], "0\n"), (["--ids"], "\n")]
)
def test_an_empty_text_has_no_tokens(invoke, options, shown):
    result = invoke("tokens", "m", "", *options)
    assert (result.exit_code, result.stdout) == (0, shown)


def test_without_a_text_a_terminal_is_told_to_give_one(terminal):
    shown, code = terminal("tokens", "m").end()
    assert "TEXT: there is no text; give one, or pipe one in" in shown
    assert code == 2


def test_only_one_form_can_be_asked_for(invoke):
    result = invoke("tokens", "m", "x", "--count", "--json")
    assert result.exit_code == 2
    assert "--count, --ids, --json: give only one" in result.stderr
    assert result.stdout == ""


def test_a_failure_has_its_exit_code(invoke):
    result = invoke("tokens", str(TINY / "nowhere"), "x", "--json", worker=MLX)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "model_not_found"


@needs_tiny
def test_chat_goes_through_the_template_and_raw_does_not(invoke):
    raw = json.loads(invoke("tokens", str(TINY), "What is", "--json", worker=MLX).stdout)
    assert raw["pieces"] == ["What", " is"]
    chat = json.loads(
        invoke("tokens", str(TINY), "What is", "--chat", "--json", worker=MLX).stdout
    )
    assert "<|im_start|>" in chat["pieces"]
    assert "".join(chat["pieces"]).count("What is") == 1


def test_the_load_leaves_out_the_warm_up_that_only_an_answer_needs(invoke, monkeypatch):
    asked: list[bool] = []
    load = Worker.load

    def note(worker, path, **options):
        asked.append(options["warmup"])
        return load(worker, path, **options)

    monkeypatch.setattr(Worker, "load", note)
    invoke("tokens", "m", "x")
    invoke("generate", "m", "x")
    assert asked == [False, True]
