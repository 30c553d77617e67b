"""An interactive session on a terminal."""

from __future__ import annotations

import json
import os
import select

from support.tiny_model import TINY, needs_tiny

from .conftest import MOCK, SLOW_MOCK

ENDLESS = ("--ignore-eos", "--max-tokens", "8000")


def test_a_session_answers_turn_by_turn_until_control_d(terminal):
    session = terminal("chat", "m")
    session.expect("Ctrl-D ends")
    for text in ("hello there", "and again"):
        session.expect("> ")
        session.type(f"{text}\n")
        session.expect(f"{text}\r\n{text}\r\n")
        session.expect("· stop")
    session.expect("> ")
    session.type("\x04")
    assert session.end()[1] == 0


def test_control_c_cancels_the_answer_and_not_the_session(terminal):
    session = terminal("chat", "m", *ENDLESS, worker=SLOW_MOCK)
    for _ in range(2):
        session.expect("> ")
        session.type("one two\n")
        session.expect("one twoone twoone")
        session.type("\x03")
        session.expect("· cancelled")
    session.expect("> ")
    session.type("/exit\n")
    assert session.end()[1] == 0


def test_control_c_twice_at_the_prompt_ends_the_session(terminal):
    session = terminal("chat", "m")
    session.expect("> ")
    session.interrupt("Ctrl-C again")
    session.expect("> ")
    session.type("hello\n")
    session.expect("· stop")
    session.expect("> ")
    session.interrupt("Ctrl-C again")
    session.expect("> ")
    session.interrupt("the session ends")
    assert session.end()[1] == 130


def test_commands_are_listed_and_a_wrong_one_is_not_sent(terminal):
    session = terminal("chat", "m")
    for typed, answered in [
        ("/help", "/reset "),
        ("/foo bar", "/foo is no command"),
        ("/reset", "was reset"),
    ]:
        session.expect("> ")
        session.type(f"{typed}\n")
        session.expect(answered)
    session.expect("> ")
    session.type("/exit\n")
    assert session.end()[1] == 0


def test_a_turn_that_fails_does_not_end_the_session(terminal):
    session = terminal("chat", "m", "--context-len", "3")
    session.expect("> ")
    session.type("far too many words\n")
    session.expect("\x1b[31merror: context_overflow: ")
    session.expect("> ")
    session.type("few\n")
    session.expect("few\r\nfew\r\n")


def test_a_worker_that_dies_ends_the_session_with_one_line(terminal, worker_that):
    session = terminal("chat", "m", *ENDLESS, worker=worker_that("os._exit(7)"))
    session.expect("> ")
    session.type("one two\n")
    session.expect("error: worker_crashed: ")
    rest, code = session.end()
    assert code == 1
    assert "Traceback" not in rest


def test_control_c_thrice_ends_the_session_while_a_worker_hangs(terminal, worker_that):
    worker = worker_that("import time; time.sleep(60)")
    session = terminal("chat", "m", *ENDLESS, worker=worker)
    session.expect("> ")
    session.type("one two\n")
    session.expect("one twoone")
    session.interrupt("the session ends")
    rest, code = session.end()
    assert code == 130
    assert "Traceback" not in rest


def test_results_go_to_a_pipe_while_the_prompt_stays_on_the_terminal(terminal):
    reading, writing = os.pipe()
    session = terminal("chat", "m", "--json", stdout=writing)
    os.close(writing)
    session.expect("> ")
    session.type("hello\n")
    session.expect("· stop")
    assert select.select([reading], [], [], 10)[0]
    assert json.loads(os.read(reading, 65536))["text"] == "hello"
    session.type("\x04")
    assert session.end()[1] == 0
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_what_a_model_writes_can_not_steer_the_terminal(terminal):
    session = terminal("generate", "m", "one \x1b[2J two \x9b", "-q")
    shown, code = session.end()
    assert code == 0
    assert shown == "one �[2J two �\r\n"


def test_a_load_has_a_progress_bar_on_a_terminal_alone(terminal, run):
    session = terminal("info", "m")
    shown, code = session.end()
    assert code == 0
    assert "load" in shown
    assert "100%" in shown
    assert "━" not in run("info", "m").stderr
    assert "100%" not in terminal("info", "m", "-q").end()[0]


@needs_tiny
def test_the_tiny_model_keeps_the_turns_of_a_session(terminal):
    worker = MOCK.replace("mock", "mlx")
    session = terminal("chat", str(TINY), "--system", "Be brief.", worker=worker)
    for question, answer in [("What is 2 + 3?", "5"), ("What is 4 + 4?", "8")]:
        session.expect("> ")
        session.type(f"{question}\n")
        session.expect(f"{question}\r\n")
        session.expect(f"{answer}\r\n")  # a slow prefill may draw its bar before
    session.expect("prompt tokens cached")
    session.expect("> ")
    session.type("\x04")
    assert session.end()[1] == 0
