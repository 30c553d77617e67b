"""Call the user's callbacks without letting their exceptions into the client."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def call_guarded(
    loop: asyncio.AbstractEventLoop, callback: Callable[[T], Any] | None, argument: T
) -> None:
    """Call a user's callback; hand its exception to the loop's exception handler."""
    if callback is None:
        return
    try:
        result = callback(argument)
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError(
                "the callback returned a coroutine, which nothing awaits: give a plain function, "
                "which may start a task or fill a queue"
            )
    except Exception as error:
        loop.call_exception_handler(
            {"message": f"mlxwire: the callback {callback!r} failed", "exception": error}
        )
