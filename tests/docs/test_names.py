"""The names that the pages use exist: files, targets, extras, options, exit codes, sections."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import mlxwire
from architecture.sources import ROOT, tracked_files
from mlxwire.cli import exits
from mlxwire.restart.policy import ChangeKind
from mlxwire_worker.process.options import Options

from .pages import PAGES, read, section

GUIDES = [*PAGES, "bench/README.md"]
FOREIGN = {"docs/engine-notes.md"}
"""A page that names files of mlx-lm."""
BELOW_A_FOLDER = {".json", ".txt", ".go", ".ts", ".mjs"}
"""Files that are named with their folder; alone, such a name may be anybody's."""


def named_paths(page: str) -> set[str]:
    """Return the folders, sources, pages and data files that a page names; NAME is a reader's."""
    named = [name for name in re.findall(r"`([\w./-]+)`", read(page)) if "NAME" not in name]
    deep = {name for name in named if "/" in name and Path(name).suffix in BELOW_A_FOLDER}
    return deep | {
        name for name in named if name.endswith("/") or Path(name).suffix in {".py", ".md"}
    }


def first_cells(table: str) -> list[str]:
    """Return the first cell of each row that names something."""
    return re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in GUIDES if page not in FOREIGN])
def test_every_path_that_is_named_exists(page: str) -> None:
    places = [ROOT, (ROOT / page).parent, ROOT / "protocol", ROOT / "worker/mlxwire_worker"]

    assert not {
        name
        for name in named_paths(page)
        if not any((place / name).exists() for place in places)
    }


def test_the_pages_name_paths() -> None:
    assert len(named_paths("README.md")) >= 10
    assert len(named_paths("CONTRIBUTING.md")) >= 3


def test_the_session_is_in_the_first_screen_and_the_two_commands_follow() -> None:
    readme = read("README.md")
    above = readme[: readme.index("## What it is for")]

    assert readme.index("```python") < 500
    assert above.index("```python") < above.index("make demo") < above.index("make test")
    assert len(readme.splitlines()) <= 150


def test_every_folder_has_its_line_and_every_script_of_bench_too() -> None:
    tracked = tracked_files()
    folders = {file.parts[0] for file in tracked if len(file.parts) > 1}
    scripts = {"/".join(file.parts[1:]) for file in tracked if file.match("bench/*/*.py")}
    tree, bench = section("README.md", "## The tree"), read("bench/README.md")

    assert not {name for name in folders if name[0] != "." and f"`{name}/" not in tree}
    assert not {name for name in scripts if f"`{name}`" not in bench}


def test_every_page_of_docs_is_linked_from_the_readme_or_another_page() -> None:
    linked = {
        str((ROOT / page).parent.joinpath(target).resolve().relative_to(ROOT))
        for page in PAGES
        for target in re.findall(r"\]\(([\w./-]+\.md)", read(page))
    }

    assert {page for page in PAGES if page.startswith("docs/")} <= linked


def test_the_workers_options_are_these() -> None:
    listed = set(
        re.findall(r"`--([a-z-]+)", section("docs/wire.md", "## The worker's options"))
    )
    singular = {"model-roots": "model-root", "data-roots": "data-root"}
    known = {name.replace("_", "-") for name in Options.__struct_fields__}

    assert listed == {singular.get(name, name) for name in known} | {"version"}


def test_the_options_of_a_request_are_these() -> None:
    cells = first_cells(section("docs/python.md", "## Options of a request"))
    listed = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]

    assert sorted(listed) == sorted(get_type_hints(mlxwire.ChatOptions))


def test_the_changes_of_a_worker_are_these() -> None:
    cells = first_cells(section("docs/restarts-and-pools.md", "## Restarts"))
    listed = {cell.strip("`") for cell in cells}

    assert set(get_args(ChangeKind)) <= listed


def test_the_exit_codes_are_these() -> None:
    listed = re.findall(r"^\| (\d+) \|", read("docs/command-line.md"), re.MULTILINE)
    known = [
        exits.FAILED,
        exits.USAGE,
        exits.NOT_STARTED,
        exits.INTERRUPTED,
        exits.PIPE_CLOSED,
    ]

    assert [int(code) for code in listed] == [0, *known]


@pytest.mark.parametrize("page", GUIDES)
def test_the_targets_and_extras_that_are_named_exist(page: str) -> None:
    makefile = read("Makefile")
    project = tomllib.loads(read("pyproject.toml"))["project"]
    targets = set(re.findall(r"(?:^|`)make (\w+)", read(page), re.MULTILINE))
    extras = set(re.findall(r"(?:mlxwire|\.)\[(\w+)\]", read(page)))

    assert all(f"\n{target}:" in makefile for target in targets), targets
    assert extras <= project["optional-dependencies"].keys()


def test_every_section_and_lesson_that_the_code_refers_to_exists() -> None:
    sections = set(re.findall(r"^## §(\d+) ", read("docs/engine-notes.md"), re.MULTILINE))
    lessons = set(re.findall(r"^(\d+)\. ", read("docs/lessons.md"), re.MULTILINE))
    sources = [file for file in tracked_files() if file.suffix in {".py", ".go", ".ts"}]
    text = "\n".join((ROOT / file).read_text("utf-8") for file in sources)
    referred = re.findall(r"engine-notes(?:\.md)? ((?:§\d+(?:, )?)+)", text)
    learned = re.findall(r"lessons?(?:\.md)? ((?:\d+(?:, | to )?)+)", text)

    assert sections == {str(number) for number in range(1, 19)}
    assert lessons == {str(number) for number in range(1, 43)}
    assert len(referred) >= 8
    assert len(learned) >= 5
    assert set(re.findall(r"\d+", " ".join(referred))) <= sections
    assert set(re.findall(r"\d+", " ".join(learned))) <= lessons
