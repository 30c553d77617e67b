"""`inspect`: the queries and keys that each attention layer compares, written to a file.

One pass over the prompt, with empty caches, because layers may share keys (Gemma 3n). MLX computes
nothing before it is asked: the pass only notes what each layer hands to its attention. Then one
layer after another is computed, with other requests in between; the head and the logits never are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import Any

import mlx.core as mx
from mlx_lm.generate import generation_stream
from mlx_lm.models.cache import make_prompt_cache

from mlxwire_protocol import WireError, invalid_params

from ...prompts import Inspected, Inspection
from ..cache import sealed_file
from ..models.data_file import DataFile

FORMAT = "mlxwire-attention-1"
_ATTENTION = "scaled_dot_product_attention"

Compared = tuple[Any, Any]
"""The queries [1, H, T, D] and the keys [1, K, T, D] of one layer, after norms and RoPE."""


def inspect_slice(model: Any, inspection: Inspection, file: DataFile) -> Inspected | None:
    """Compute one layer, or write the file; return the result after that, and None before.

    Raises: WireError ``invalid_params`` for a layer or path, ``unsupported_capability``.
    """
    if inspection.work is None:
        inspection.work = _inspect(model, inspection.ids, inspection.layers, file)
    with mx.stream(generation_stream):
        return next(inspection.work)


def _inspect(
    model: Any, ids: list[int], layers: list[int] | None, file: DataFile
) -> Iterator[Inspected | None]:
    with _noting(model) as compared:
        model(mx.array([ids]), cache=make_prompt_cache(model))
    wanted = _wanted(layers, len(compared))
    _check_kinds(compared)
    kept = {layer: compared[layer] for layer in wanted}
    compared.clear()  # so that the layers between are freed as soon as they are computed
    arrays: dict[str, mx.array] = {}
    for layer in wanted:
        for name, values in zip(("queries", "keys"), kept.pop(layer), strict=True):
            arrays[f"layers.{layer}.{name}"] = values[0].astype(mx.float32)
        mx.eval(arrays)
        yield None
    with file.replacing(_is_ours) as stream:
        sealed_file.write(stream, arrays, {"format": FORMAT})
    queries, keys = (arrays[f"layers.{wanted[0]}.{name}"] for name in ("queries", "keys"))
    yield Inspected(
        path=str(file.path),
        layers=wanted,
        heads=keys.shape[0],
        query_heads=queries.shape[0],
        head_dim=keys.shape[-1],
        tokens=len(ids),
    )


@contextmanager
def _noting(model: Any) -> Iterator[list[Compared]]:
    """Note what the model's layers hand to mlx-lm's attention, in their order.

    Each file of mlx-lm imports that function under its own name, so the name is replaced in all
    files that define a module of this model. Only the engine's thread runs them.
    """
    compared: list[Compared] = []
    replaced: dict[str, Any] = {}
    for file in {type(module).__module__ for module in model.modules()}:
        names = vars(sys.modules[file])
        if own := names.get(_ATTENTION):
            replaced[file] = own
            names[_ATTENTION] = _noted(own, compared)
    try:
        yield compared
    finally:
        for file, own in replaced.items():
            vars(sys.modules[file])[_ATTENTION] = own


def _noted(own: Any, compared: list[Compared]) -> Any:
    def attention(queries: Any, keys: Any, *rest: Any, **named: Any) -> Any:
        compared.append((queries, keys))
        return own(queries, keys, *rest, **named)

    return attention


def _wanted(layers: list[int] | None, count: int) -> list[int]:
    if not count:
        raise _unsupported("has no layer whose attention `inspect` knows")
    for place, layer in enumerate(layers or []):
        if layer >= count:
            raise invalid_params(
                f"layers[{place}]",
                f"`layers[{place}]` is {layer}, but this model's layers with attention have the "
                f"numbers 0 to {count - 1}; give one of these, or leave `layers` out for all",
            )
    return sorted({*layers}) if layers else list(range(count))


def _check_kinds(compared: list[Compared]) -> None:
    for queries, keys in compared:
        if queries.ndim != 4 or keys.ndim != 4 or queries.shape[-1] != keys.shape[-1]:
            raise _unsupported(
                "does not compare queries and keys of one width in its attention"
            )


def _unsupported(what: str) -> WireError:
    return WireError(
        "unsupported_capability",
        f"this model {what}; load another model to inspect it",
        data={"missing": ["inspect"]},
    )


def _is_ours(file: BufferedReader) -> bool:
    """Return True for a file that `inspect` wrote, which it may replace."""
    try:
        return sealed_file.SealedReader(file).metadata.get("format") == FORMAT
    except (OSError, ValueError):
        return False
