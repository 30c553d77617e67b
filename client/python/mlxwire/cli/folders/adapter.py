"""The commands `mlxwire adapter …`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ...process.worker_program import run_program
from ..arguments import JsonResult
from ..exits import exit_codes
from ..terminal import print_json, print_table, say

PROGRAM = "mlx_engine.adapters.fusing_program"

commands = typer.Typer(
    help="Work with LoRA and DoRA adapters.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@commands.callback()
def _group() -> None:
    """Make typer keep the name of a single command."""


@commands.command()
def fuse(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model folder.")],
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="ADAPTER", help="An adapter's folder, in the format of mlx-lm or of PEFT."
        ),
    ],
    out: Annotated[
        str,
        typer.Argument(metavar="OUT", help="The folder to write, which must not exist yet."),
    ],
    dequantize: Annotated[
        bool,
        typer.Option("--dequantize", help="Write plain weights also for a quantized model."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr.")] = False,
    json: JsonResult = False,
) -> None:
    """Write a model with an adapter in its weights, which any program of MLX loads.

    A quantized model stays quantized, as it was: its weights are rounded once more.
    """
    with exit_codes(json=json):
        if not quiet:
            say(f"fusing {adapter} into {model}", "dim")
        options = ["--dequantize"] if dequantize else []
        fused = asyncio.run(run_program(PROGRAM, [*options, "--", model, adapter, out]))
        if json:
            print_json(fused)
        else:
            print_table(fused)
