"""End a worker's process in steps: ask it to quit, close its stdin, SIGTERM, SIGKILL.

Theory of operation. `end_process` runs as one task on the event loop; `Connection` starts that
task at most once for a process. Each step waits for the exit, up to its own limit, and the next
step follows only if the process is still there.

- The first step is repeated, up to `MOST_TURNS` times in all, as long as each turn ends with fewer
  requests in flight than it began with: the worker owes their finals, and writes them as long as
  they are read (SPEC §9).
- While the steps run, the loop keeps reading stdout and stderr. A worker that is blocked in a
  write to a full pipe could not exit otherwise.
- Signals go to the process group, so that helpers of the worker end with it.
- A worker that can't be talked to (it broke the protocol, or hangs) is not asked: the steps
  begin with SIGTERM.
- If the task itself is cancelled, as when the loop shuts down, it goes straight to SIGKILL and
  waits for the exit; otherwise the child would outlive its host.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .checks import check_given, check_seconds

MOST_TURNS = 10
"""The most times that a close takes the step of ``quit``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownLimits:
    """Seconds that each step may take.

    A close takes at most the sum of all four. While requests in flight still get their finals,
    ``quit`` counts up to ten times.
    """

    quit: float = 3.0
    close_stdin: float = 2.0
    terminate: float = 2.0
    kill: float = 2.0

    def __post_init__(self) -> None:
        """Check the limits. Raises: InvalidParams if one is None, negative or NaN."""
        for name in self.__slots__:
            check_given(name, getattr(self, name))
            check_seconds(name, getattr(self, name))


class Endable(Protocol):
    """The part of a process that `end_process` needs."""

    def close_stdin(self) -> None: ...
    def signal_group(self, number: signal.Signals) -> None: ...
    async def wait(self, seconds: float) -> bool: ...


async def end_process(
    process: Endable,
    limits: ShutdownLimits,
    *,
    say_quit: Callable[[], None] | None,
    in_flight: Callable[[], int],
) -> bool:
    """Take as many steps as the process needs to exit; return True if it has exited.

    ``say_quit`` writes the request ``quit``; if it is None, the steps begin with SIGTERM.
    ``in_flight`` returns how many requests wait for their final.
    """
    try:
        if say_quit is not None:
            say_quit()
            for _ in range(MOST_TURNS):
                before = in_flight()
                if await process.wait(limits.quit):
                    return True
                if not 0 < in_flight() < before:
                    break
            process.close_stdin()
            if await process.wait(limits.close_stdin):
                return True
        process.close_stdin()
        process.signal_group(signal.SIGTERM)
        if await process.wait(limits.terminate):
            return True
    except asyncio.CancelledError:
        process.signal_group(signal.SIGKILL)
        await process.wait(limits.kill)
        raise
    process.signal_group(signal.SIGKILL)
    return await process.wait(limits.kill)
