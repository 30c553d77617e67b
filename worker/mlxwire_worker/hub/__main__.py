"""`python -P -m mlxwire_worker.hub`: downloads a model from a hub, as `mlxwire pull` asks.

It reads a task as a line of JSON from stdin and writes events to stdout, until the last one:
`result` or `error`. The end of stdin, SIGINT and SIGTERM end it; the next run goes on from there.
"""

from __future__ import annotations

from ..process.import_path import leave_working_folder

leave_working_folder()  # before any import that is not a part of this package

import msgspec  # noqa: E402
from msgspec import Struct  # noqa: E402

from mlxwire_protocol import WireError  # noqa: E402

from ..process.child.command import run  # noqa: E402
from ..process.child.pipes import Pipes  # noqa: E402
from ..process.stdio import claim_wire  # noqa: E402


class Task(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The options of `mlxwire pull`. ``all_files``: download what is no part of the model, too."""

    name: str
    revision: str | None = None
    token: str | None = None
    all_files: bool = False


def main() -> None:
    """Download one model, and end the process."""
    pipes = Pipes(*claim_wire())
    if line := pipes.read_line():
        run(pipes, lambda pipes: _pull(line, pipes), "the model can't be downloaded")


def _pull(line: bytes, pipes: Pipes) -> None:
    task = msgspec.json.decode(line, type=Task)
    pipes.progress("look", 0, 1)
    try:
        from .pulling import pull
    except ModuleNotFoundError as error:
        raise WireError(
            "model_load_failed",
            f"the hub's client is not installed ({error}); run: pip install 'mlxwire[mlx]'",
            data={"reason": "mlx_not_installed"},
        ) from None
    pipes.result(
        pull(
            task.name,
            revision=task.revision,
            token=task.token,
            all_files=task.all_files,
            report=pipes.progress,
        )
    )


if __name__ == "__main__":
    main()
