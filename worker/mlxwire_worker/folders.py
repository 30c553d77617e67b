"""Descriptions of model folders that an engine has not loaded. Imports no MLX and no wire message."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from msgspec import Struct

from mlxwire_protocol import WireError


class FoundFolder(NamedTuple):
    """A folder that looks like a model: its description, or why `load` would refuse it.

    ``described`` has the fields of a `FoundModel` but its id, index, path and name.
    """

    path: str
    name: str
    described: dict[str, Any] | None = None
    error: WireError | None = None


class FitOptions(Struct, kw_only=True, frozen=True):
    """The options of the load whose memory is predicted; None where a load would choose."""

    path: str | None = None
    context_len: int | Literal["auto"] | None = None
    parallel_slots: int | None = None
    kv_bits: int | None = None
    kv_group_size: int = 64
    memory_limit: int | None = None
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16", "stored"] = "auto"


class Fit(Struct, kw_only=True, frozen=True):
    """The memory that a model needs, in bytes: the fields of a `FitResult`."""

    path: str
    model_type: str
    compute_dtype: str
    kv_bits: int
    context_len: int
    parallel_slots: int
    weight_bytes: int
    bytes_per_token: int
    sequence_bytes: int
    cache_bytes: int
    scratch_bytes: int
    total_bytes: int
    available_bytes: int
    fits: bool
    max_context_len: int
