"""The options of `Worker.fit` and `Model.fit`."""

from __future__ import annotations

from typing import Literal, TypedDict

from ..options import ComputeDtype, ContextLength


class FitOptions(TypedDict, total=False):
    """Options of `Worker.fit` and `Model.fit`: those of `LoadOptions` that decide what a model needs.

    ``context_len``: tokens of prompt and answer, or "auto" for the most that fit.
    ``parallel_slots``: sequences that are decoded together; one if left out. ``memory_limit``: bytes that the process may use; left out, those that it would have.
    """

    context_len: ContextLength | None
    parallel_slots: int | None
    kv_bits: Literal[2, 3, 4, 6, 8] | None
    kv_group_size: Literal[32, 64, 128]
    memory_limit: int | None
    compute_dtype: ComputeDtype
