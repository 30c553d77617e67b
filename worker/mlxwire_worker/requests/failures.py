"""Creates the worker's typed errors, from an engine's exceptions and for its own limits."""

from __future__ import annotations

from mlxwire_protocol import WireError

from ..process.stdio import log
from .delivery import MAX_HELD_BYTES
from .surroundings import blames_request_wrongly, lacking


def failure_of(error: BaseException) -> WireError:
    """Convert an exception to the typed error that ends the request."""
    if isinstance(error, WireError):
        return (lacking(error) or error) if blames_request_wrongly(error) else error
    return lacking(error) or _internal_error(error)


def _internal_error(error: BaseException) -> WireError:
    """Log the type and place of an exception that is our fault; return an error without its text.

    The text may quote a prompt.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    log(f"{type(error).__name__} at {place}")
    return WireError(
        "internal",
        f"a defect in the worker raised {type(error).__name__}; the worker's stderr names the "
        "place. Please report it",
    )


def no_credit() -> WireError:
    """Return the error for a request with too many bytes that wait for credit."""
    return WireError(
        "overloaded",
        f"more than {MAX_HELD_BYTES} bytes of this request wait for credit; send `credit` while "
        "you read, ask for less, or leave `window` out",
        data={"max_held_bytes": MAX_HELD_BYTES},
    )


def no_model() -> WireError:
    """Return the error for a request that needs a model when none is loaded."""
    return WireError(
        "model_not_loaded", 'no model is loaded; load one first: {"cmd": "load", "path": …}'
    )
