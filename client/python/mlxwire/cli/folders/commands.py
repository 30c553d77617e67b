"""The commands `convert`, `models` and `pull`: their arguments, and the functions that they run."""

from __future__ import annotations

import asyncio

import typer

from ..arguments import EngineOption, Quiet, Verbose
from ..exits import FAILED, exit_codes
from ..flatten import flattened
from ..training.options import Lines
from . import convert as conversion
from . import models as listing
from . import pull as pulling

commands = typer.Typer()


@commands.command()
@flattened
def convert(
    source: conversion.Source,
    out: conversion.Out,
    form: conversion.Form,
    quiet: Quiet = False,
    json: Lines = False,
) -> None:
    """Write a model in another form: quantized, dequantized, or in another dtype.

    OUT appears whole or not at all, also after Ctrl-C. docs/convert.md explains the options.
    """
    with exit_codes(json=json, options=conversion.FIELDS):
        asyncio.run(conversion.convert_once(source, out, form, quiet=quiet, json=json))


@commands.command()
def models(
    folders: listing.Folders = None,
    check: listing.Depth = listing.Check.HEADERS,
    hub: listing.Hub = None,
    engine: EngineOption = None,
    json: listing.Lines = False,
    verbose: Verbose = False,
) -> None:
    """List the models below folders, or in the hub's local cache, and what they can do.

    A broken one is listed with the reason that a load would give. No model is loaded.
    """
    with exit_codes(json=json, verbose=verbose):
        sound = asyncio.run(
            listing.list_models(
                folders or [], engine=engine, hub=hub, check=check, json=json, verbose=verbose
            )
        )
        if not sound:
            raise typer.Exit(FAILED)


@commands.command()
def pull(
    name: pulling.Name,
    revision: pulling.Revision = None,
    token: pulling.Token = None,
    all_files: pulling.AllFiles = False,
    quiet: Quiet = False,
    json: Lines = False,
) -> None:
    """Download a model from a hub into its local cache, and check every file's checksum.

    After Ctrl-C or a broken connection the same command goes on from there.
    """
    with exit_codes(json=json):
        asyncio.run(
            pulling.pull_once(
                name, revision, token, all_files=all_files, quiet=quiet, json=json
            )
        )
