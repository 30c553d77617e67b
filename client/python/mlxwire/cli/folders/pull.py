"""Download a model from a hub: show the bytes as they come, and then what to type next."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
from typer import Argument, Option

from mlxwire_protocol.replies import Progress

from ...folders.pulling import pull
from ..terminal import ProgressBar, print_json, print_table, say
from .next_step import next_command

Name = Annotated[str, Argument(metavar="NAME", help="A model's name on the hub: ORG/NAME.")]
Revision = Annotated[
    str | None, Option(metavar="REVISION", help="A branch, a tag or a commit: main.")
]
Token = Annotated[
    str | None,
    Option(
        metavar="TOKEN",
        help="For a private or a gated model. Other users of the machine see it in the list of "
        "processes; the variable HF_TOKEN they do not.",
    ),
]
AllFiles = Annotated[
    bool,
    Option("--all-files", help="Also weights in other forms, and what else is there."),
]


async def pull_once(
    name: str,
    revision: str | None,
    token: str | None,
    *,
    all_files: bool,
    quiet: bool,
    json: bool,
) -> None:
    """Download one model. Raises: MlxwireError."""
    if not quiet:
        say(f"pulling {name}", "dim")
    with ProgressBar(quiet=quiet) as bar:

        def heard(report: Progress) -> None:
            bar(report)
            if json:
                print_json(_plain(report))

        try:
            result = await pull(
                name, revision=revision, token=token, all_files=all_files, on_progress=heard
            )
        except asyncio.CancelledError:
            bar.close()
            say("\nwhat has arrived stays; the same command goes on from there", "dim")
            raise
    if json:
        print_json({"type": "result", **msgspec.to_builtins(result)})
    else:
        told = msgspec.to_builtins(result)
        print_table({**told, "fetched": f"{result.fetched / 1e6:.1f} MB"})
    if not quiet:
        loaded = name if revision is None else result.path
        say(f"to use it: {next_command(Path(result.path), loaded)}", "dim")


def _plain(report: Progress) -> dict[str, Any]:
    """Return the fields of a report, without those of a request."""
    fields: dict[str, Any] = msgspec.to_builtins(report)
    del fields["id"]
    return fields
