"""Errors of a run, with their codes and remedies."""

from __future__ import annotations

from collections.abc import Mapping

from mlxwire_protocol import WireError

from ..requests.surroundings import lack_behind, lacking

CODE = "training_failed"
LESS = (
    "lower `batch_size` (and raise `gradient_accumulation`), `max_sequence` or `rank`, or set "
    "`gradient_checkpointing`"
)
LESS_TRAINED = "lower `rank` or `layers`, name fewer `keys`, or use the optimizer `adafactor`"


def explained(error: Exception, doing: str, data: Mapping[str, object]) -> WireError:
    """Return the typed error for an exception of MLX, of a model or of the system."""
    if isinstance(error, WireError):
        error.data = {**data, **error.data}
        return error
    lack = lack_behind(error)
    if lack is not None and lack.code == "out_of_memory":
        return out_of_memory(f"{doing} took more memory than there is", data)
    found = lacking(error, f"{doing} failed")
    if found is not None:
        found.data = {**data, **found.data}
        return found
    told = " ".join(str(error).split())[:300]
    return WireError(
        CODE,
        f"{doing} failed ({type(error).__name__}: {told}); if the options are right, report it with "
        "the model's name",
        data=dict(data),
    )


def out_of_memory(problem: str, data: Mapping[str, object], remedy: str = LESS) -> WireError:
    """Create the error for a run that needs more memory than it may use."""
    return WireError("out_of_memory", f"{problem}; {remedy}", retryable=False, data=dict(data))


def not_finite(what: str, step: int, checkpoint: str | None) -> WireError:
    """Create the error for a run whose numbers have become infinite or NaN."""
    kept = (
        f"the last good checkpoint is {checkpoint}"
        if checkpoint
        else "no checkpoint was made before"
    )
    return WireError(
        CODE,
        f"{what} of step {step} is not finite, so the training has stopped; {kept}. Lower "
        "`learning_rate`, set `gradient_clip` or a `warmup`, and look for odd rows in the data",
        data={"step": step, "checkpoint": checkpoint},
    )
