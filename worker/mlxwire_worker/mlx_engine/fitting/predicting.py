"""Predicts for a model folder what a load of it would take."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from ...engine import LoadOptions
from ...folders import Fit, FitOptions
from ..encoders.building import build_encoder
from ..encoders.footprint import footprint_of
from ..encoders.loading import (
    dtype_of,
    in_wanted_dtype,
    is_encoder_folder,
    longest_text,
    refuse_options,
)
from ..encoders.reading import read_encoder
from ..models.assembly import assemble
from ..models.preflight import check_model
from .available import available_bytes
from .footprint import LEAST_CONTEXT


class FitTask(Struct, kw_only=True, frozen=True):
    """A prediction to make: ``options`` with a path, and an adapter beside it.

    ``held_bytes`` are those of a model that would go before the weights of this one come.
    """

    options: FitOptions
    adapter: str | None = None
    held_bytes: int = 0


def predict(task: FitTask) -> Fit:
    """Check a folder, build its modules without weights, and predict its memory.

    Raises: WireError, as a load does.
    """
    asked = task.options
    assert asked.path is not None
    path = Path(asked.path)
    options = LoadOptions(
        path=asked.path,
        context_len=None if asked.context_len == "auto" else asked.context_len,
        kv_bits=asked.kv_bits,
        kv_group_size=asked.kv_group_size,
        memory_limit=asked.memory_limit,
        compute_dtype=asked.compute_dtype,
    )
    if is_encoder_folder(path):
        return _predict_encoder(path, options, task.held_bytes)
    checked = check_model(path)
    adapter = None if task.adapter is None else Path(task.adapter)
    assembled = assemble(options, checked, adapter, lambda: None, task.held_bytes)
    footprint = assembled.footprint()
    slots = assembled.slots(asked.parallel_slots)
    available = available_bytes(asked.memory_limit, task.held_bytes)
    longest = footprint.longest_context(available, slots, assembled.longest)
    context = assembled.context.tokens
    if asked.context_len == "auto":
        context = longest or min(LEAST_CONTEXT, assembled.longest)
    total = footprint.total_bytes(context, slots)
    return Fit(
        path=asked.path,
        model_type=str(checked.config["model_type"]),
        compute_dtype=footprint.compute_dtype,
        kv_bits=asked.kv_bits or 0,
        context_len=context,
        parallel_slots=slots,
        weight_bytes=footprint.weight_bytes,
        bytes_per_token=footprint.sizes.bytes_per_token,
        sequence_bytes=footprint.sizes.fixed_bytes,
        cache_bytes=footprint.cache_bytes(context, slots),
        scratch_bytes=footprint.scratch_bytes(context, slots),
        total_bytes=total,
        available_bytes=available,
        fits=total <= available,
        max_context_len=longest,
    )


def _predict_encoder(path: Path, options: LoadOptions, held: int) -> Fit:
    """Predict the memory of an encoder, which keeps no caches, for texts of the full length."""
    checked = check_model(path)
    refuse_options(options, None)
    folder = read_encoder(path, checked.config)
    built = in_wanted_dtype(options, build_encoder(checked, folder.shape, lambda: None), held)
    context = longest_text(options, folder)
    footprint = footprint_of(
        built.model, folder.shape, context=context, stored=checked.weight_bytes
    )
    available = available_bytes(options.memory_limit, held)
    fits = footprint.total <= available
    return Fit(
        path=str(path),
        model_type=str(checked.config["model_type"]),
        compute_dtype=dtype_of(built.model),
        kv_bits=0,
        context_len=context,
        parallel_slots=1,
        weight_bytes=footprint.weights,
        bytes_per_token=0,
        sequence_bytes=0,
        cache_bytes=0,
        scratch_bytes=footprint.scratch,
        total_bytes=footprint.total,
        available_bytes=available,
        fits=fits,
        max_context_len=context if fits else 0,
    )
