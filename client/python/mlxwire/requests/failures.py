"""Compose the errors of requests that were cancelled in the worker, by this client or another."""

from __future__ import annotations

import copy

from ..errors import DrainTimeout, MlxwireError, RequestCancelled, RequestTimeout


def too_late(command: str, seconds: float | None) -> RequestTimeout:
    """Return the error of a request that took longer than its ``timeout``."""
    return RequestTimeout(
        f"`{command}` took longer than the {seconds:g} s it was given and was cancelled; give it "
        "more time or ask for less"
    )


def silent(command: str, seconds: float) -> RequestTimeout:
    """Return the error of a request without a message for its ``idle_timeout``."""
    return RequestTimeout(
        f"nothing came of `{command}` for {seconds:g} s, so it was cancelled; it may have "
        "waited behind other requests: give it a longer idle_timeout",
        data={"idle_timeout": seconds},
    )


def not_drained(command: str, seconds: float) -> DrainTimeout:
    """Return the error of a cancelled request that the worker did not end in time."""
    return DrainTimeout(
        f"the worker did not end the cancelled `{command}` within {seconds:g} s; it may hang: "
        "close it and start another one, or call restart() if it has a restart policy"
    )


def cancelled_here(command: str) -> RequestCancelled:
    """Return the error of a read from a stream after its own cancel."""
    return RequestCancelled(
        f"`{command}` was cancelled by a call to its own stream, and the rest of it is lost; ask "
        "again if you still need the answer"
    )


def cancelled_elsewhere(command: str, interruption: MlxwireError | None) -> MlxwireError:
    """Return the error of a request that another call cancelled.

    ``interruption`` is the error of its connection, if the end of the worker cancelled it.
    """
    if interruption is not None:
        return copy.copy(interruption)
    return RequestCancelled(
        f"`{command}` was cancelled by another call; ask again if you still need the answer"
    )


def training_cancelled(checkpoint: str | None, step: object) -> RequestCancelled:
    """Return the error of a training that was cancelled, with the checkpoint that it saved."""
    data = {"checkpoint": checkpoint, "step": step}
    if checkpoint is None:
        return RequestCancelled(
            "the training was cancelled before its first checkpoint; train again",
            data=data,
        )
    return RequestCancelled(
        f"the training was cancelled, and its state is in {checkpoint}; train again with the same "
        "options and `resume` to go on from there",
        data=data,
    )
