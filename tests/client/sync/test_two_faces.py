"""The blocking client has all of the asyncio client, by the same names and arguments."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mlxwire
from mlxwire import sync

SCRIPT = Path(__file__).parents[3] / "client" / "python" / "generate_sync.py"

SYNC_ONLY = {"Pool": {"start"}}
"""A pool's thread has to be started, and a pool on a loop has nothing to do for that."""

PAIRS = [
    (mlxwire.Worker, sync.Worker),
    *((mlxwire.Pool, sync.Pool), (mlxwire.Model, sync.Model)),
    (mlxwire.PromptCache, sync.PromptCache),
]


def run_script(*options: str, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


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
    sync_only = SYNC_ONLY.get(name, set())

    assert sync_only <= public(blocking)
    assert public(asynchronous) == public(blocking) - sync_only
    for shared in public(asynchronous) & public(blocking):
        both = [arguments(getattr(face, shared)) for face in faces]
        assert both[0] == both[1], shared


def test_the_blocking_face_is_what_the_script_writes() -> None:
    done = run_script("--check")

    assert (done.returncode, done.stdout) == (0, "")


def test_a_face_that_is_out_of_date_fails_the_check(tmp_path: Path) -> None:
    client = tmp_path / "python"
    shutil.copytree(SCRIPT.parent, client, ignore=shutil.ignore_patterns("__pycache__"))
    source = client / "mlxwire" / "cache.py"
    source.write_text(source.read_text().replace("Drop everything", "Drop all"))

    done = run_script("--check", script=client / SCRIPT.name)

    assert done.returncode == 1
    assert "Drop all" in done.stdout
