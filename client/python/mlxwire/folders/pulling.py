"""Download a model from a hub into its local cache. No worker is needed."""

from __future__ import annotations

from typing import Any

import msgspec

from mlxwire_protocol.replies import Progress

from ..options import OnProgress
from ..process.worker_program import run_program
from ..results import convert_reply

_PROGRAM = "hub"


class PulledModel(msgspec.Struct, kw_only=True, frozen=True):
    """A model in the hub's local cache.

    ``path``: its folder. ``revision``: its commit. ``files``: how many it has. ``fetched``: the bytes
    that had to be downloaded.
    """

    path: str
    revision: str
    files: int
    fetched: int


async def pull(
    name: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    all_files: bool = False,
    on_progress: OnProgress | None = None,
) -> PulledModel:
    """Download the model ``name``, ORG/NAME, into the hub's local cache, where `Worker.load` finds it.

    ``revision``: a branch, a tag or a commit; default: ``main``. ``token``: for a private or a gated
    model; default: the variable HF_TOKEN. ``all_files``: fetch what a load does not read, too.
    ``on_progress`` receives a `Progress`, whose ``stage`` is ``look``, ``download`` or ``verify`` (in
    bytes). What has arrived stays if this fails or is cancelled, and the next call goes on from there.

    Raises: InvalidParams, ModelNotFound, UnsupportedModel for weights in another form, ModelLoadFailed
    for a wrong checksum, Unavailable for a hub or a disk, SpawnFailed.
    """
    task = {"name": name, "revision": revision, "token": token, "all_files": all_files}

    def heard(event: dict[str, Any]) -> None:
        if on_progress is not None:
            on_progress(Progress(id="pull", **event))

    return convert_reply(await run_program(_PROGRAM, task=task, on_event=heard), PulledModel)
