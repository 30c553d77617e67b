"""Every framing vector against a worker process, on its stdin."""

from __future__ import annotations

import pytest

from conformance.test_transcripts import COMMAND
from conformance.worker_cases import worker_cases

CASES = {case.name: case for case in worker_cases(COMMAND) if case.name.startswith("framing/")}


@pytest.mark.parametrize("name", CASES)
def test_a_worker_process_splits_its_input(name: str) -> None:
    assert list(CASES[name].run()) == []
