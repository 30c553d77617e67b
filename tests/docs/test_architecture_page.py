"""The page on the architecture agrees with the code: folders, lanes, a job's life, import rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from architecture.sources import ROOT, tracked_files
from architecture.test_architecture import RULES
from mlxwire_protocol.commands import TABLE, Row
from mlxwire_worker.requests.job import TRANSITIONS

from .pages import read, section
from .test_names import named_paths

PAGE = "docs/architecture.md"
WORKER = ROOT / "worker/mlxwire_worker"
OF_TESTS = {
    "client/go/internal/conformance/driver/",
    "client/go/internal/workertest/",
}
CODE = re.compile(r"`([^`]+)`")


def table(heading: str) -> list[list[str]]:
    """Return the cells of each row in a section's table whose first cell is code."""
    lines = section(PAGE, heading).splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [row for row in rows if CODE.search(row[0])]


@pytest.mark.parametrize(
    ("package", "named_from"),
    [
        ("protocol/mlxwire_protocol", ""),
        ("worker/mlxwire_worker", "worker/mlxwire_worker/"),
        ("client/python/mlxwire", ""),
        ("client/go", ""),
        ("client/typescript/src", ""),
    ],
)
def test_every_folder_of_sources_is_on_the_map(package: str, named_from: str) -> None:
    folders = {
        f"{file.parent}/".removeprefix(named_from)
        for file in tracked_files()
        if file.is_relative_to(package) and file.parent != Path(package)
    }

    assert folders
    assert folders - named_paths(PAGE) - OF_TESTS == set()


def test_every_function_and_class_is_in_the_file_that_is_named_for_it() -> None:
    page = read(PAGE)
    named = re.findall(r"`([\w./-]+\.py)`:? \(?`([\w.]+)`", page)

    assert len(named) >= 15
    for path, name in named:
        file = next(p for p in (ROOT / path, WORKER / path) if p.exists())
        last = name.split(".")[-1]
        assert re.search(rf"^ *(?:def|class) {last}\b|^ +{last}:", file.read_text(), re.M), name


def test_the_lanes_are_those_of_the_table_of_commands() -> None:
    told = {CODE.findall(lane)[0]: CODE.findall(names) for lane, _, names in table("## Lanes")}
    lanes: dict[str, list[str]] = {}
    for row in TABLE:
        lanes.setdefault(row.lane, []).append(_name(row))

    assert {lane: sorted(names) for lane, names in told.items()} == {
        lane: sorted(names) for lane, names in lanes.items()
    }


def _name(row: Row) -> str:
    return row.name if row.action is None else f"{row.name} {row.action}"


def test_the_life_of_a_job_is_that_of_its_table() -> None:
    told = {
        (CODE.findall(state)[0], CODE.findall(event)[0]): CODE.findall(following)[0]
        for state, event, following, _ in table("## The life of a job")
    }

    assert told == TRANSITIONS


def test_the_import_rules_are_those_that_are_checked() -> None:
    told = [name for cells in table("## Who imports whom") for name in CODE.findall(cells[0])]

    assert sorted(told) == sorted(rule.__name__ for rule in RULES)
