from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from support.fake_process import processes
from support.memory_worker import MemoryWorker
from support.repository import ROOT

__all__ = ["processes"]

SCRIPT = ROOT / "tests" / "support" / "scripted_worker.py"


@pytest.fixture
def script() -> Callable[..., list[str]]:
    """Return the command of a scripted worker that behaves as named."""

    def command(behaviour: str, *args: str) -> list[str]:
        return [sys.executable, "-I", "-S", str(SCRIPT), behaviour, *args]

    return command


@pytest.fixture
async def memory() -> AsyncIterator[Callable[..., Awaitable[MemoryWorker]]]:
    """Yield a function that makes greeted workers in memory; they are closed at the end."""
    made: list[MemoryWorker] = []

    async def make(**options: Any) -> MemoryWorker:
        worker = MemoryWorker(**options)
        made.append(worker)
        await worker.greet()
        return worker

    yield make
    for worker in made:
        await worker.connection.close()
