"""Download a model from a hub, blocking."""

from __future__ import annotations

from ..folders.pulling import PulledModel
from ..folders.pulling import pull as pull_async
from ..options import OnProgress
from .loop_thread import LoopThread


def pull(
    name: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    all_files: bool = False,
    on_progress: OnProgress | None = None,
) -> PulledModel:
    """Download a model into the hub's local cache, as `mlxwire.pull` does, and wait for it.

    Ctrl-C ends it; what has arrived stays. Raises: as `mlxwire.pull`.
    """
    thread = LoopThread()
    try:
        return thread.call(
            pull_async(
                name,
                revision=revision,
                token=token,
                all_files=all_files,
                on_progress=on_progress,
            )
        )
    finally:
        thread.stop()
