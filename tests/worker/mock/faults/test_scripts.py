"""The scripts that ship, and what is refused of others."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from conformance.leftovers import MARK_VARIABLE, find_marked, kill
from mlxwire_worker.mock.faults.script import FaultScript, HeardFault, ReplyFault, load_script
from support.repository import TESTDATA

from .conftest import GENERATE, LONG, OPENING

FOLDER = TESTDATA / "faults"
SCRIPTS = pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem
)
SILENT = {"kind": "silent", "phase": "start"}


def kinds_of(script: FaultScript) -> list[str]:
    return [str(fault.__struct_config__.tag) for fault in script.faults]


def dialogue_for(script: FaultScript) -> list[dict[str, Any]]:
    """Return requests that bring about every message that the script's faults wait for."""
    phases = {fault.phase for fault in script.faults}
    said: list[dict[str, Any]] = [*OPENING]
    if phases & {"cancel", "credit"}:
        said += [{**LONG, "window": 1}, {"id": "k", "cmd": "credit", "target": "g", "n": 1}]
        said += [{"id": "c", "cmd": "cancel", "target": "g"}] if "cancel" in phases else []
    else:
        said += [GENERATE]
    return said + ([{"id": "q", "cmd": "quit"}] if "end" in phases else [])


@SCRIPTS
def test_every_fault_of_a_script_that_ships_applies_to_its_message(path: Path) -> None:
    script = load_script(str(path))
    left = kinds_of(script)
    with running("--drain-on-eof", "--faults", str(path)) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError), process.stdin:
            for request in dialogue_for(script):
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
        while left and (line := process.stderr.readline()):
            found = re.search(rb"\]: fault (\w+), at ", line)
            if found:
                left.remove(found[1].decode())
    assert left == []


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a worker that is killed at the end, with all that it has started."""
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "mlxwire_worker", "--engine", "mock", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, MARK_VARIABLE: mark},
    ) as process:
        yield process
        kill(find_marked(mark))


def test_every_kind_of_fault_is_in_a_script_that_ships_and_in_the_readme() -> None:
    kinds = {str(each.__struct_config__.tag) for each in get_args(HeardFault | ReplyFault)}
    shipped = {
        kind for path in FOLDER.glob("*.json") for kind in kinds_of(load_script(str(path)))
    }
    assert shipped == kinds
    readme = (FOLDER / "README.md").read_text()
    assert [kind for kind in kinds if f"`{kind}`" not in readme] == []


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ({"faults": [{"kind": "sloppy", "phase": "start"}]}, "sloppy"),
        ({"faults": [{**SILENT, "seconds": 1}]}, "seconds"),
        ({"faults": [{**SILENT, "phase": "lunch"}]}, "lunch"),
        ({"faults": [{"kind": "silent"}]}, "phase"),
        ({"faults": [{"kind": "stall", "phase": "start", "seconds": "1"}]}, "float"),
        ({"faults": [{"kind": "split", "phase": "start"}]}, "sizes"),
        ({"faults": [{"kind": "split", "phase": "start", "sizes": [0]}]}, "sizes"),
        ({"faults": [SILENT], "fault": []}, "fault"),
        ({}, "faults"),
    ],
)
def test_what_is_no_script_is_refused_and_named(
    tmp_path: Path, script: dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps(script))
    with pytest.raises(ValueError, match=complaint):
        load_script(str(path))


def worker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "mlxwire_worker", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_worker_exits_2_where_the_script_is_not_there(tmp_path: Path) -> None:
    ended = worker("--engine", "mock", "--faults", str(tmp_path / "none.json"))
    assert ended.returncode == 2
    assert "none.json: No such file" in ended.stderr


def test_another_engine_has_no_faults() -> None:
    ended = worker("--faults", str(FOLDER / "start_silent.json"))
    assert ended.returncode == 2
    assert "--engine mock" in ended.stderr
