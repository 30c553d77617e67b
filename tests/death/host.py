"""A host to be killed: brings a worker to a phase, prints its pid, and waits for ever.

python tests/death/host.py PHASE MODEL [ARGUMENT…]      the arguments are the worker's
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import mlxwire
from death.phases import bring


async def main() -> None:
    phase, model, *arguments = sys.argv[1:]
    limits = mlxwire.ShutdownLimits(quit=60, close_stdin=60, terminate=60)
    worker = mlxwire.Worker(args=arguments, shutdown=limits, start_timeout=60)
    scene = await bring(worker, phase, model)
    print(worker.pid, flush=True)
    await asyncio.Event().wait()
    print(scene)  # never: it is held, so that nothing of it is given up meanwhile


if __name__ == "__main__":
    asyncio.run(main())
