"""The ladder by which a worker is ended: ask, close its stdin, SIGTERM, SIGKILL.

Each step has a limit, stdout and stderr are read throughout by the loop, and the signals go to
the whole process group.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownLimits:
    """Seconds that each step may take before the next; a closed worker costs their sum at most."""

    quit: float = 3.0
    close_stdin: float = 2.0
    terminate: float = 2.0
    kill: float = 2.0


class Endable(Protocol):
    """What the ladder needs of a process."""

    def close_stdin(self) -> None: ...
    def signal_group(self, number: signal.Signals) -> None: ...
    async def wait(self, seconds: float) -> bool: ...


async def end_process(
    process: Endable, limits: ShutdownLimits, *, say_quit: Callable[[], None] | None
) -> bool:
    """Go down the ladder as far as it takes; whether the process has ended.

    ``say_quit`` asks; without it the ladder begins at SIGTERM, for a worker that can't be
    talked to. A cancellation, as when the loop itself ends, jumps to SIGKILL.
    """
    try:
        if say_quit is not None:
            say_quit()
            if await process.wait(limits.quit):
                return True
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
