"""Convert a model folder: quantized, dequantized, or in another dtype. No worker is needed."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from mlxwire_protocol.replies import Progress

from .options import OnProgress, Path
from .process.worker_program import run_program
from .results import convert_reply

PROGRAM = "conversion"


class ConvertProgress(Progress, kw_only=True, tag="progress"):
    """The progress of a conversion. ``tensor``: the name of the one that was computed last.

    ``stage``: ``check``, ``sensitivities`` (in sequences), ``perplexity before`` and ``perplexity
    after`` (in windows of the text), or ``convert`` (in tensors).
    """

    id: str = "convert"
    tensor: str | None = None


class Quantization(msgspec.Struct, kw_only=True, frozen=True):
    """The form of quantized weights. ``mode``: ``affine``, ``mxfp4``, ``mxfp8`` or ``nvfp4``."""

    bits: int
    group_size: int
    mode: str


class Conversion(msgspec.Struct, kw_only=True, frozen=True):
    """A converted model.

    ``path``: its folder. ``bits_per_weight`` counts scales and plain weights too.
    ``parameters``: numbers, as unpacked. ``bytes``: of the weights. ``quantization``: the form of
    most weights, None for plain ones. ``perplexity_before``, ``perplexity_after``: on ``text``,
    over ``text_tokens`` tokens; None without one. ``warnings``: what was left out or stays plain.
    """

    path: str
    bits_per_weight: float
    parameters: int
    bytes: int
    quantization: Quantization | None
    mixed: str | None
    perplexity_before: float | None
    perplexity_after: float | None
    text_tokens: int | None
    warnings: list[str]


async def convert(
    source: Path,
    out: Path,
    *,
    bits: int | None = None,
    group_size: int | None = None,
    mode: str | None = None,
    mixed: str | None = None,
    dtype: str | None = None,
    dequantize: bool = False,
    text: Path | None = None,
    target_bits: float | None = None,
    on_progress: OnProgress | None = None,
) -> Conversion:
    """Write the model of the folder ``source`` in another form into the new folder ``out``.

    ``source`` may be the name of a model in the hub's local cache too.
    Any of ``bits``, ``group_size``, ``mode`` and ``mixed`` (a recipe) asks for quantized weights;
    docs/convert.md has their values. ``dtype``: that of plain weights. ``dequantize``: make quantized
    weights plain first. ``text``: a file to measure the perplexity on, before and after.
    ``target_bits``: bits a weight of the recipe ``dynamic``. ``on_progress`` receives a
    `ConvertProgress`. ``out`` appears whole or not at all, also if this is cancelled.

    Raises: InvalidParams for an option that the model or MLX can't honour, ModelNotFound,
    ModelLoadFailed, UnsupportedModel, OutOfMemory, Unavailable for a full disk, SpawnFailed.
    """
    task = {
        "source": os.fspath(source),
        "out": os.fspath(out),
        "bits": bits,
        "group_size": group_size,
        "mode": mode,
        "mixed": mixed,
        "dtype": dtype,
        "dequantize": dequantize,
        "text": None if text is None else os.fspath(text),
        "target_bits": target_bits,
    }

    def heard(event: dict[str, Any]) -> None:
        if on_progress is not None:
            on_progress(convert_reply({**event, "type": "progress"}, ConvertProgress))

    result = await run_program(PROGRAM, task=task, on_event=heard)
    return convert_reply(result, Conversion)
