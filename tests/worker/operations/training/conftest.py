from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import training_program
from support.gated_engine import GatedEngine
from support.memory_host import Connect, MemoryHost

Host = Callable[[str], MemoryHost]


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """Return the path of a file with three rows."""
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "one two"}\n' * 3)
    return str(file)


@pytest.fixture
def out(tmp_path: Path) -> str:
    """Return the path of a folder for results, which does not exist yet."""
    return str(tmp_path / "out")


@pytest.fixture
def host_of(connect: Connect, engine: GatedEngine) -> Host:
    """Return a function that makes a host of a worker whose program behaves in a named way."""

    def make(behaviour: str) -> MemoryHost:
        program = str(training_program.__file__)
        engine.site = engine.training_site._replace(
            command=(sys.executable, program, behaviour)
        )
        return connect()

    return make
