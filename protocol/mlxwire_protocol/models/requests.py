"""The requests `discover` and `fit` as types: fields, defaults and ranges."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ..messages import Command, ContextLength, Count, Path, Streaming


class Discover(Streaming, kw_only=True, frozen=True, tag="discover"):
    """Find the models below ``paths``, and in the hub's local cache if ``hub_cache``.

    ``hub_cache`` left out is true if ``paths`` is empty. ``check`` decides what is read of each
    folder: the JSON files and the headers of the weights, or all that `load` would refuse.
    """

    paths: Annotated[list[Path], Meta(max_length=1024)] = []
    hub_cache: bool | None = None
    check: Literal["headers", "full"] = "headers"


class Fit(Command, kw_only=True, frozen=True, tag="fit"):
    """Predict the memory that a model needs; the options are those of `load`.

    ``path`` left out is the loaded model.
    """

    path: Path | None = None
    context_len: ContextLength | None = None
    parallel_slots: Annotated[int, Meta(ge=1, le=4096)] | None = None
    kv_bits: Literal[2, 3, 4, 6, 8] | None = None
    kv_group_size: Literal[32, 64, 128] = 64
    memory_limit: Count | None = None
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16", "stored"] = "auto"
