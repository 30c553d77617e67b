"""The failures that may be tried again unchanged: the table of SPEC §6."""

from __future__ import annotations

import pytest

from mlxwire_protocol import CLIENT_CODES, WORKER_CODES, WireError

RETRYABLE = {"overloaded", "out_of_memory", "unavailable", "worker_crashed"}


@pytest.mark.parametrize("code", [*WORKER_CODES, *CLIENT_CODES])
def test_a_code_is_retryable_as_the_specification_says(code: str) -> None:
    assert WireError(code, "x").retryable is (code in RETRYABLE)
