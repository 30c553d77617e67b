"""Convert a model folder: show each tensor as it is computed, and then the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import msgspec
from typer import Argument, Option

from mlxwire_protocol.replies import Progress

from ...conversion import Conversion, convert
from ..terminal import ProgressBar, print_json, print_table, say
from .next_step import next_command

Source = Annotated[
    str, Argument(metavar="SOURCE", help="A model folder, or a name in the hub's local cache.")
]
Out = Annotated[
    str, Argument(metavar="OUT", help="The folder to write, which must not exist yet.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The options that say what becomes of the weights; without any they stay as they are."""

    bits: Annotated[
        int | None, Option(help="Bits of a quantized weight: 4, in the mode mxfp8 8.")
    ] = None
    group_size: Annotated[
        int | None, Option(help="Weights with one scale: 64, and the mode's own in the others.")
    ] = None
    mode: Annotated[
        str | None, Option(metavar="MODE", help="affine, mxfp4, mxfp8 or nvfp4: affine.")
    ] = None
    mixed: Annotated[
        str | None,
        Option(
            metavar="RECIPE",
            help="Several bits: mixed_2_6, mixed_3_4, mixed_3_6, mixed_4_6, or dynamic, which "
            "measures the layers on --text.",
        ),
    ] = None
    target_bits: Annotated[
        float | None, Option(help="Bits per weight that the recipe `dynamic` aims at.")
    ] = None
    dtype: Annotated[
        str | None,
        Option(
            metavar="DTYPE", help="float32, bfloat16 or float16 for plain weights: as it is."
        ),
    ] = None
    dequantize: Annotated[
        bool, Option("--dequantize", help="Make quantized weights plain first.")
    ] = False
    text: Annotated[
        str | None,
        Option(metavar="FILE", help="Show the perplexity on this text, before and after."),
    ] = None


FIELDS = tuple(field.name for field in fields(Form))


async def convert_once(source: str, out: str, form: Form, *, quiet: bool, json: bool) -> None:
    """Convert one model. Raises: MlxwireError."""
    if not quiet:
        say(f"converting {source}", "dim")
    with ProgressBar(quiet=quiet) as bar:

        def heard(report: Progress) -> None:
            bar(report)
            if json:
                print_json(_plain(report))

        result = await convert(source, out, on_progress=heard, **asdict(form))
    if json:
        print_json({"type": "result", **msgspec.to_builtins(result)})
    else:
        print_table(facts(result))
    if not quiet:
        for warning in result.warnings:
            say(f"note: {warning}")
        say(f"to use it: {next_command(Path(result.path), result.path)}", "dim")


def facts(result: Conversion) -> dict[str, object]:
    """Return the rows of a table about a result."""
    form = result.quantization
    kind = "none"
    if form is not None:
        kind = f"{form.bits} bits, groups of {form.group_size}, {form.mode}"
    lines: dict[str, object] = {
        "path": result.path,
        "quantization": kind if result.mixed is None else f"{result.mixed}: most have {kind}",
        "bits per weight": f"{result.bits_per_weight:.3f}",
        "parameters": result.parameters,
        "size": f"{result.bytes / 1e6:.1f} MB",
    }
    if result.perplexity_before is not None and result.perplexity_after is not None:
        before, after = result.perplexity_before, result.perplexity_after
        lines["perplexity"] = (
            f"{before:.3f} before, {after:.3f} after, on {result.text_tokens} tokens"
        )
    return lines


def _plain(report: Progress) -> Mapping[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(report)
    del fields["id"]  # a conversion is no request
    return fields
