"""What is said of a request that was cancelled in the worker: by this client, or by another call."""

from __future__ import annotations

import copy

from ..errors import DrainTimeout, MlxwireError, RequestCancelled, RequestTimeout


def too_late(command: str, seconds: float | None) -> RequestTimeout:
    """It took longer than its caller gave it."""
    return RequestTimeout(
        f"`{command}` took longer than the {seconds:g} s it was given and was cancelled; give it "
        "more time or ask for less"
    )


def silent(command: str, seconds: float) -> RequestTimeout:
    """Nothing came of it though its consumer waited."""
    return RequestTimeout(
        f"nothing came of `{command}` for {seconds:g} s, and it was cancelled; it may wait for "
        "others, so give it a longer idle_timeout",
        data={"idle_timeout": seconds},
    )


def not_drained(command: str, seconds: float) -> DrainTimeout:
    """The worker did not end it, though it was cancelled."""
    return DrainTimeout(
        f"the worker did not end the cancelled `{command}` within {seconds:g} s; it may hang, "
        "close it and start another, or restart() its supervisor"
    )


def cancelled_elsewhere(command: str, closing: MlxwireError | None) -> MlxwireError:
    """It was cancelled, and not by its caller; ``closing`` is why its connection takes no more."""
    if closing is not None:
        return copy.copy(closing)
    return RequestCancelled(
        f"`{command}` was cancelled by another call; ask again where it is still wanted"
    )
