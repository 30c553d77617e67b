"""Start the worker that the command line asks for, and load its model."""

from __future__ import annotations

from typing import Any, cast

from ..errors import MlxwireError
from ..model import Model
from ..options import LoadOptions
from ..worker import Worker
from .arguments import Engine, Launch, Start, read_context
from .exits import StartFailed
from .terminal import ProgressBar, say


async def start_worker(
    engine: Engine | None, *, allow_hub: bool = False, verbose: bool = False
) -> Worker:
    """Start a worker. Raises: StartFailed."""
    worker = Worker(
        engine=engine.value if engine else None,
        args=["--allow-hub"] if allow_hub else [],
        on_stderr=_show_stderr if verbose else None,
    )
    try:
        return await worker.start()
    except MlxwireError as error:
        raise StartFailed(error) from None


async def launch_worker(launch: Start) -> Worker:
    """Start the worker that the command line asks for. Raises: StartFailed."""
    return await start_worker(launch.engine, allow_hub=launch.allow_hub, verbose=launch.verbose)


async def load_model(
    worker: Worker, launch: Start, *, warmup: bool = True, adapter: bool = True
) -> Model:
    """Load the model, and its adapter unless that is loaded by name, with a progress bar.

    Raises: as `Worker.load`.
    """
    options: LoadOptions = {"warmup": warmup}
    if isinstance(launch, Launch):
        options["context_len"] = read_context(launch.context_len)
        options["adapter_path"] = launch.adapter if adapter else None
        options.update(_numbers(launch))
    with ProgressBar(quiet=launch.quiet) as bar:
        return await worker.load(launch.path, on_progress=bar, **options)


def _numbers(launch: Launch) -> LoadOptions:
    """Return the options about bits and dtypes that were given; the worker checks their values."""
    given: dict[str, Any] = {
        "kv_bits": launch.kv_bits,
        "kv_group_size": launch.kv_group_size,
        "compute_dtype": launch.compute_dtype,
    }
    return cast(
        LoadOptions, {name: value for name, value in given.items() if value is not None}
    )


def _show_stderr(line: str) -> None:
    say(line, "dim")
