"""The items of `discover` and the result of `fit` as types."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..messages import Count
from ..replies import ErrorBody, Reply, Result


class FoundAdapter(Struct, kw_only=True):
    """An adapter's folder beside or below a model that it was trained for."""

    path: str
    format: str


class FoundModel(Reply, kw_only=True, tag="item"):
    """A model that `discover` found: what its files say, without loading it.

    The fields that `info` has too mean the same, but ``weight_bytes``: those are the bytes as stored.
    ``path`` is absolute and is what `load` takes; ``name`` is the repository's in the hub's cache, else
    the folder's. ``architecture`` is the class that config.json names. ``dtype_bytes`` maps each value of
    `compute_dtype` to the bytes of the weights in memory, and ``compute_dtype`` is the one that `auto`
    chooses here. ``repository`` and ``revision`` are
    null outside the hub's cache, ``pooling`` is null if the model makes no embeddings.
    """

    index: Count
    path: str
    name: str
    model_type: str
    architecture: str | None
    vocab_size: Count
    layers: Count
    hidden_size: Count
    context_len: Count
    quant_bits: Count
    quant_group: Count
    quant_mode: str
    parameters: Count
    weight_bytes: Count
    chat_template: bool
    capabilities: dict[str, Any]
    compute_dtype: str
    dtype_bytes: dict[str, Count]
    pooling: str | None = None
    repository: str | None = None
    revision: str | None = None
    adapters: list[FoundAdapter] = []


class BrokenModel(Reply, kw_only=True, tag="item"):
    """A folder that looks like a model and that `load` would refuse with ``error``."""

    index: Count
    path: str
    name: str
    error: ErrorBody


class FitResult(Result, kw_only=True, tag="result"):
    """The answer to `fit`, in bytes: what the model needs, and what there is.

    ``context_len``, ``parallel_slots``, ``compute_dtype`` and ``kv_bits`` (0 without) are those that the figures are for.
    ``bytes_per_token`` is the cache of one token, ``sequence_bytes`` what a sequence holds whatever its
    length. ``cache_bytes`` are those of all slots at the full context. ``scratch_bytes`` come on top at the peak:
    intermediate results and copies of caches; ``total_bytes`` is the sum. ``available_bytes`` is what the process may
    use. ``max_context_len`` is the longest context that fits, 0 if none does.
    """

    path: str
    model_type: str
    compute_dtype: str
    kv_bits: Count
    context_len: Count
    parallel_slots: Count
    weight_bytes: Count
    bytes_per_token: Count
    sequence_bytes: Count
    cache_bytes: Count
    scratch_bytes: Count
    total_bytes: Count
    available_bytes: Count
    fits: bool
    max_context_len: Count
