"""A pool over fake processes, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import mlxwire

from .virtual_time import run

POLICY = mlxwire.RestartPolicy(max_restarts=3, window=100, backoff_min=1, jitter=0)
PoolTest = Callable[[mlxwire.Pool], Awaitable[None]]


def pooled(test: PoolTest, **options: Any) -> None:
    """Run a test with a pool, which has no liveness limits and `POLICY` unless told otherwise."""

    async def main() -> None:
        given = {"liveness": None, "restart": POLICY} | options
        async with mlxwire.Pool(["fake"], **given) as pool:
            await test(pool)

    run(main())
