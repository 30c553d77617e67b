"""The tree of errors: a class for each code, and what an error says."""

from __future__ import annotations

import pickle

import pytest

import mlxwire
from mlxwire.process.postmortem import describe_exit
from mlxwire.results import ERRORS_BY_CODE, error_from_code, error_from_reply
from mlxwire_protocol import CLIENT_CODES, WORKER_CODES


def test_every_code_of_the_wire_has_its_class():
    assert set(ERRORS_BY_CODE) == {*WORKER_CODES, *CLIENT_CODES}


@pytest.mark.parametrize("code", [*WORKER_CODES, *CLIENT_CODES])
def test_an_error_reply_becomes_an_exception_with_all_that_it_says(code):
    body = {"code": code, "message": "m", "retryable": True, "data": {"field": "f"}}
    error = error_from_reply({"type": "error", "error": body})
    assert isinstance(error, mlxwire.MlxwireError)
    assert isinstance(error, mlxwire.WireError)
    assert (error.code, error.message, error.retryable) == (code, "m", True)
    assert error.field == "f"
    assert str(error) == f"{code}: m"


def test_an_unknown_code_is_the_base_class_with_the_code_kept():
    error = error_from_code("from_the_future", "m")
    assert type(error) is mlxwire.MlxwireError
    assert error.code == "from_the_future"


@pytest.mark.parametrize("body", [None, "text", [], 3])
def test_an_error_reply_without_an_error_is_a_violation(body):
    assert isinstance(error_from_reply({"error": body}), mlxwire.ProtocolViolation)


def test_a_field_of_another_type_is_quoted_and_the_error_stands():
    error = error_from_reply({"error": {"code": 7, "message": None, "data": ["x"]}})
    assert type(error) is mlxwire.MlxwireError
    assert (error.code, error.message, error.data) == ("7", "None", {})


def test_errors_survive_pickling():
    error = mlxwire.WorkerCrashed("m", exit_code=3, stderr_tail="tail")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.exit_code, copy.stderr_tail, str(copy)) == (3, "tail", str(error))
    timeout = pickle.loads(pickle.dumps(mlxwire.RequestTimeout("late")))
    assert isinstance(timeout, TimeoutError)
    assert str(timeout) == "timeout: late"


def test_an_exit_is_described_by_code_or_signal():
    assert describe_exit(3) == ("exited with code 3", 3, None)
    assert describe_exit(-9) == ("was ended by SIGKILL", None, 9)
    assert describe_exit(-250) == ("was ended by signal 250", None, 250)
