"""Start the worker that the command line asks for, and load its model."""

from __future__ import annotations

from ..errors import MlxwireError
from ..model import Model
from ..worker import Worker
from .arguments import Engine, Launch
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


async def launch_worker(launch: Launch) -> Worker:
    """Start the worker that the command line asks for. Raises: StartFailed."""
    return await start_worker(launch.engine, allow_hub=launch.allow_hub, verbose=launch.verbose)


async def load_model(worker: Worker, launch: Launch, *, warmup: bool = True) -> Model:
    """Load the model with a progress bar. Raises: as `Worker.load`."""
    with ProgressBar(quiet=launch.quiet) as bar:
        return await worker.load(
            launch.path,
            on_progress=bar,
            context_len=launch.context_len,
            adapter_path=launch.adapter,
            warmup=warmup,
        )


def _show_stderr(line: str) -> None:
    say(line, "dim")
