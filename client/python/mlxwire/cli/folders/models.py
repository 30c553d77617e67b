"""List the models below folders and in the hub's local cache: a line for each, as it is found."""

from __future__ import annotations

import os
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
from typer import Argument, Option

from ...folders.discovery import BrokenModel, FoundModel
from ..arguments import Engine
from ..exits import error_fields, in_words
from ..launch import start_worker
from ..terminal import CONTROL_SHOWN, print_json, say, visible, write_text

Folders = Annotated[
    list[str] | None,
    Argument(
        metavar="DIR",
        help="Folders of models, models, or caches of a hub. Without any, the hub's local cache.",
    ),
]
Hub = Annotated[
    bool | None,
    Option("--hub/--no-hub", help="Look into the hub's local cache too, or not."),
]
Lines = Annotated[bool, Option("--json", help="One JSON object a line, for each model.")]


class Check(StrEnum):
    """The depth of the look into each folder."""

    HEADERS = "headers"
    FULL = "full"


Depth = Annotated[
    Check,
    Option(
        "--check",
        help="Read settings and headers alone, or make all checks of a load that need no weights; "
        "then a broken model is exit code 1.",
    ),
]
_COLUMNS = (
    ("MODEL", 34),
    ("TYPE", 12),
    ("PARAMETERS", 10),
    ("QUANTIZED", 14),
    ("SIZE", 9),
    ("CONTEXT", 8),
    ("CAN", 0),
)
_ABILITIES = ("chat", "tools", "thinking", "embed", "rerank")
_UNITS = ("B", "kB", "MB", "GB", "TB")


async def list_models(
    folders: list[str],
    *,
    engine: Engine | None,
    hub: bool | None,
    check: Check,
    json: bool,
    verbose: bool,
) -> bool:
    """Write a line for each model; return False if something asked for is not sound.

    That is a folder that can't be searched and, in a full check, a broken model. Models of a hub's
    cache below the folders come last: their names can be typed only if the cache is the user's own.
    Raises: StartFailed, MlxwireError.
    """
    given = _absolute(folders)
    sound, count = True, 0
    named: list[FoundModel | BrokenModel] = []
    worker = await start_worker(engine, verbose=verbose)
    try:
        async for model in worker.discover(given, hub_cache=hub, check=check.value):
            if isinstance(model, BrokenModel):
                sound = sound and check is Check.HEADERS and not _is_missing(model, given)
            if json:
                print_json(_plain(model))
            else:
                if not count:
                    write_text(_line([name for name, _ in _COLUMNS]))
                if given and "/" in model.name:
                    named.append(model)
                else:
                    write_text(_line(_cells(model)))
            count += 1
        if named:
            own = {model.path for model in await worker.discover(hub_cache=True)}
            for model in named:
                write_text(_line(_cells(model, by_name=model.path in own)))
    finally:
        await worker.close()
    if not count:
        say("no models found; to download one: mlxwire pull ORG/NAME")
    return sound


def _absolute(folders: list[str]) -> list[str]:
    return list(dict.fromkeys(str(Path(folder).expanduser().absolute()) for folder in folders))


def _is_missing(model: BrokenModel, given: list[str]) -> bool:
    """Return True for a folder that was asked for and can't be searched."""
    return model.path in given and not os.access(model.path, os.R_OK | os.X_OK | os.F_OK)


def _cells(model: FoundModel | BrokenModel, *, by_name: bool = True) -> list[str]:
    typed = _typed(model.path, model.name if by_name else "")
    if isinstance(model, BrokenModel):
        return [typed, f"broken: {in_words(model.error)}"]
    abilities = _abilities(model)
    adapters = len(model.adapters)
    if adapters:
        abilities.append(f"{adapters} adapter{'s' if adapters > 1 else ''}")
    return [
        typed,
        model.model_type,
        _rounded(model.parameters),
        f"{model.quant_bits} bit {model.quant_mode}" if model.quant_bits else "no",
        _size(model.weight_bytes),
        f"{model.context_len:,}",
        ", ".join(abilities),
    ]


def _abilities(model: FoundModel) -> list[str]:
    """Return what a model is for: any model that generates also embeds, if it is told how."""
    able = model.capabilities
    generates = able.get("generate", True)
    found = [name for name in _ABILITIES if able.get(name)]
    if model.pooling is None and generates and "embed" in found:
        found.remove("embed")
    return found or (["generate"] if generates else [])


def _typed(path: str, name: str) -> str:
    """Return what to type for a model after `mlxwire chat`: a hub's name, or the shorter path."""
    return shlex.quote(_shorter(path, name))


def _shorter(path: str, name: str) -> str:
    if "/" in name:
        return name
    try:
        below = os.path.relpath(path)
    except (OSError, ValueError):
        return path
    return path if below.startswith("..") else below


def _line(cells: list[str]) -> str:
    widths = [width for _, width in _COLUMNS]
    shown = (visible(cell).replace("\n", CONTROL_SHOWN) for cell in cells)  # a model, a line
    padded = [f"{cell:<{width}}" for cell, width in zip(shown, widths, strict=False)]
    return "  ".join(padded).rstrip() + "\n"


def _rounded(number: int) -> str:
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def _size(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_UNITS[-1]}"


def _plain(model: FoundModel | BrokenModel) -> dict[str, Any]:
    """Return the fields of an item, without those of the request."""
    if isinstance(model, BrokenModel):
        told = error_fields(model.error)
        return {"index": model.index, "path": model.path, "name": model.name, "error": told}
    fields: dict[str, Any] = msgspec.to_builtins(model)
    return {name: value for name, value in fields.items() if name not in ("id", "type")}
