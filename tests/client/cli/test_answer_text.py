"""An answer is written as it comes: over a worker in memory, in this process."""

from __future__ import annotations

import asyncio

import pytest

import mlxwire
from mlxwire.cli.answer import AnswerText, take_answer
from mlxwire.cli.arguments import Launch
from mlxwire.results import Token
from support.memory_worker import MemoryWorker

LAUNCH = Launch(path="memory", quiet=True)


def token(text: str, channel: str | None = None) -> Token:
    return Token(request_id="r", seq=0, text=text, id=1, channel=channel)


THOUGHT = [token("let me ", "thinking"), token("see", "thinking")]


def test_what_follows_a_thought_begins_a_line_on_the_terminal(capsys):
    answer = AnswerText(shown=True)
    answer.add([token("first, "), THOUGHT[0]])
    answer.add([THOUGHT[1]])
    answer.add([token("4"), token("2")])
    answer.end_line()
    out, err = capsys.readouterr()
    assert (out, err) == ("first, 42\n", "let me see\n")
    assert (answer.text, answer.channels) == ("first, 42", {"thinking": "let me see"})


def test_what_is_not_shown_is_kept_and_written_nowhere(capsys):
    answer = AnswerText(shown=False)
    answer.add([*THOUGHT, token("42")])
    answer.end_line()
    assert capsys.readouterr() == ("", "")
    assert (answer.text, answer.channels) == ("42", {"thinking": "let me see"})


def test_a_thought_that_nothing_follows_ends_its_line(capsys):
    answer = AnswerText(shown=True)
    answer.add(THOUGHT)
    answer.end_line()
    assert capsys.readouterr() == ("\n", "let me see\n")


def test_thoughts_that_are_hidden_are_neither_shown_nor_kept(capsys):
    answer = AnswerText(shown=True, thoughts=False)
    answer.add([*THOUGHT, token("42")])
    answer.end_line()
    assert capsys.readouterr() == ("42\n", "")
    assert (answer.text, answer.channels, len(answer.tokens)) == ("42", {}, 1)


def test_a_line_is_ended_once(capsys):
    answer = AnswerText(shown=True)
    answer.add([token("42\n")])
    answer.end_line()
    assert capsys.readouterr().out == "42\n"


@pytest.mark.parametrize(("came", "written"), [("half an", "half an\n"), ("", "")])
async def test_an_answer_that_fails_ends_the_line_that_it_began(capsys, came, written):
    worker = MemoryWorker()
    await worker.greet()
    taking = asyncio.create_task(
        take_answer(worker.model, lambda model, _: model.generate("p"), LAUNCH, json=False)
    )
    request_id = (await worker.process.request("generate"))["id"]
    if came:
        worker.tokens(request_id, came)
    worker.error(request_id, "internal")
    with pytest.raises(mlxwire.InternalError):
        await taking
    assert capsys.readouterr().out == written
    await worker.connection.close()
