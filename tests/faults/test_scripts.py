"""The scripts that ship, and what is refused of others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlxwire_worker.faults.script import load_script

FOLDER = Path(__file__).parents[2] / "testdata" / "faults"
SILENT = {"kind": "silent", "phase": "start"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_script_that_ships_is_a_script(path: Path) -> None:
    script = load_script(str(path))
    assert script.faults
    assert script.about.endswith(".")


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
        [sys.executable, "-m", "mlxwire_worker", *arguments],
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
