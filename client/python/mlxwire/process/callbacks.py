"""Call the user's callbacks without letting their exceptions into the client."""

from __future__ import annotations

import asyncio
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
        callback(argument)
    except Exception as error:
        loop.call_exception_handler(
            {"message": f"mlxwire: the callback {callback!r} failed", "exception": error}
        )
