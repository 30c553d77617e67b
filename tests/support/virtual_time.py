"""An event loop whose clock jumps to the next timer: hours of time-outs in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .patience import PATIENCE_SECONDS

T = TypeVar("T")


class _ImpatientSelector(selectors.DefaultSelector):
    """Never waits for time to pass; tells the loop how much it would have waited."""

    def __init__(self, pass_time: Callable[[float], None]) -> None:
        super().__init__()
        self._pass_time = pass_time

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            found = super().select(PATIENCE_SECONDS)
            if not found:
                raise TimeoutError("no timer is set, and nothing came: this waits for ever")
            return found
        found = super().select(0)
        if not found:
            self._pass_time(timeout)
        return found


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose ``time`` begins at 0 and moves only when nothing is left to do."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_ImpatientSelector(self._wait))

    def time(self) -> float:
        return self._now

    def _wait(self, seconds: float) -> None:
        self._now += seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def now() -> float:
    """Return the seconds since the loop began."""
    return asyncio.get_running_loop().time()
