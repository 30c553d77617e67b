"""The blocking client has all of the asyncio client, by the same names and arguments."""

from __future__ import annotations

import inspect

import pytest

import mlxwire
from mlxwire import sync

ASYNC_ONLY = {
    "Worker": {"connection", "limits"},
    "Supervisor": {"worker", "loop", "limits", "check_loop", "bind", "connect", "plan"},
}
"""What the client's own parts need of each other, and a worker that belongs to an event loop."""
SYNC_ONLY = {"Pool": {"start"}}
"""A pool's thread has to be started, and a pool on a loop has nothing to do for that."""

PAIRS = [
    *((mlxwire.Worker, sync.Worker), (mlxwire.Supervisor, sync.Supervisor)),
    *((mlxwire.Pool, sync.Pool), (mlxwire.Model, sync.Model)),
    (mlxwire.PromptCache, sync.PromptCache),
]


def public(face: type) -> set[str]:
    return {name for name in dir(face) if not name.startswith("_")}


def arguments(method: object) -> list[tuple[str, object, object]]:
    """Return names, kinds and defaults of a method's parameters; a property has none."""
    if not callable(method):
        return []
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize("faces", PAIRS, ids=lambda faces: faces[0].__name__)
def test_both_faces_have_the_same_names_and_arguments(faces: tuple[type, type]) -> None:
    asynchronous, blocking = faces
    name = asynchronous.__name__
    async_only, sync_only = ASYNC_ONLY.get(name, set()), SYNC_ONLY.get(name, set())

    assert async_only <= public(asynchronous)
    assert sync_only <= public(blocking)
    assert public(asynchronous) - async_only == public(blocking) - sync_only
    for shared in public(asynchronous) & public(blocking):
        both = [arguments(getattr(face, shared)) for face in faces]
        assert both[0] == both[1], shared


def test_a_supervisor_has_what_a_worker_has() -> None:
    of_one_process = {"returncode", "stray_lines", "connection"}

    assert public(mlxwire.Worker) - of_one_process <= public(mlxwire.Supervisor)
