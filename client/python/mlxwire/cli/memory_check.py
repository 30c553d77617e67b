"""The part of `mlxwire doctor` about a model: the memory it needs, the memory there is, and remedies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, cast

import msgspec
from typer import Option

from mlxwire_protocol.models.replies import FitResult

from ..folders.fitting import FitOptions
from ..options import ComputeDtype
from ..worker import Worker
from .arguments import ContextOption, KvBits, KvGroupSize, read_context

OTHER_DTYPES: tuple[ComputeDtype, ...] = ("float32", "bfloat16", "float16", "stored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The options of a load whose memory is predicted."""

    context_len: ContextOption = None
    slots: Annotated[
        int | None, Option(min=1, max=4096, help="Sequences at once; 1 if left out.")
    ] = None
    kv_bits: KvBits = None
    kv_group_size: KvGroupSize = None
    compute_dtype: Annotated[
        str | None,
        Option(metavar="DTYPE", help="float32, bfloat16, float16 or stored; all if left out."),
    ] = None

    def options(self) -> FitOptions:
        """Return the options that were given."""
        given: dict[str, Any] = {
            "context_len": read_context(self.context_len),
            "parallel_slots": self.slots,
            "kv_bits": self.kv_bits,
            "kv_group_size": self.kv_group_size,
            "compute_dtype": self.compute_dtype,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        return cast(FitOptions, chosen)


@dataclass(slots=True, kw_only=True)
class MemoryCheck:
    """The prediction for the dtype that a load would compute in, and those for the others."""

    chosen: FitResult
    others: list[FitResult]

    @property
    def problems(self) -> list[str]:
        """Return a line that says what to change, if the model does not fit."""
        fit = self.chosen
        if fit.fits:
            return []
        return [
            f"{_mib(fit.total_bytes)} are needed, but {_mib(fit.available_bytes)} are available; "
            + _remedies(fit, self.others)
        ]

    def as_object(self) -> dict[str, Any]:
        """Return what ``--json`` prints about the model."""
        return {
            "fit": _figures(self.chosen),
            "other_dtypes": [_figures(other) for other in self.others],
        }

    def as_rows(self) -> dict[str, object]:
        """Return rows of a table."""
        fit = self.chosen
        slots = f"{fit.parallel_slots} slot{'s' if fit.parallel_slots > 1 else ''}"
        packed = f", in {fit.kv_bits} bits" if fit.kv_bits else ""
        return {
            "model": f"{fit.path} ({fit.model_type})",
            "computes in": fit.compute_dtype,
            "weights": _mib(fit.weight_bytes),
            "caches": f"{_mib(fit.cache_bytes)} ({slots} of {fit.context_len:,} tokens{packed})",
            "a token": f"{fit.bytes_per_token:,} bytes of caches",
            "scratch": _mib(fit.scratch_bytes),
            "needed": _mib(fit.total_bytes),
            "available": _mib(fit.available_bytes),
            "verdict": _verdict(fit),
            **{f"in {other.compute_dtype}": _in_short(other) for other in self.others},
        }


async def check_memory(worker: Worker, path: str, wishes: Wishes) -> MemoryCheck:
    """Predict the memory of a model, in all dtypes unless one is asked for. Raises: MlxwireError."""
    options = wishes.options()
    chosen = await worker.fit(path, **options)
    found = {chosen.compute_dtype: chosen}
    for dtype in OTHER_DTYPES if wishes.compute_dtype is None else ():
        if dtype not in found:
            options["compute_dtype"] = dtype
            other = await worker.fit(path, **options)
            found.setdefault(other.compute_dtype, other)
    return MemoryCheck(chosen=chosen, others=list(found.values())[1:])


def _verdict(fit: FitResult) -> str:
    if fit.fits:
        return f"fits; the longest context is {fit.max_context_len:,} tokens"
    return "does not fit"


def _in_short(fit: FitResult) -> str:
    return f"{_mib(fit.total_bytes)}: {_verdict(fit)}"


def _remedies(fit: FitResult, others: list[FitResult]) -> str:
    """Say what would make a model fit."""
    return ", or ".join(_changes(fit, others)) or (
        "free memory, or use a smaller or a quantized model"
    )


def _changes(fit: FitResult, others: list[FitResult]) -> Iterator[str]:
    if fit.max_context_len:
        yield f"give --context-len {fit.max_context_len}, the longest that fits"
    fitting = [other.compute_dtype for other in others if other.fits]
    if fitting:
        yield f"give --compute-dtype {fitting[0]}"
    if fit.parallel_slots > 1:
        yield "give fewer --slots"
    if fit.max_context_len and not fit.kv_bits:
        yield "give --kv-bits 8"


def _figures(fit: FitResult) -> dict[str, Any]:
    figures: dict[str, Any] = msgspec.to_builtins(fit)
    return {
        name: value for name, value in figures.items() if name not in ("type", "final", "id")
    }


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
