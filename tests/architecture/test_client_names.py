"""`client/README.md` says how each concept is called in each language, and is held to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, get_args, get_type_hints

import pytest

import mlxwire
from architecture.sources import ROOT
from mlxwire_protocol.errors import CLIENT_CODES, WORKER_CODES

from .declared_names import GO, NAMES, TYPESCRIPT, keywords

PAGE = (ROOT / "client" / "README.md").read_text("utf-8")


class Row(NamedTuple):
    """One concept: its names in one language, each behind the owner or folder of the column."""

    concept: str
    names: list[str]


def tables() -> Iterator[list[list[str]]]:
    """Yield the rows of cells of each table, the header first."""
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        lines = [line.strip("|\n").split("|") for line in block.splitlines()]
        yield [[cell.strip() for cell in cells] for cells in (lines[0], *lines[2:])]


def rows(language: str) -> list[Row]:
    """Return the rows of the page for one language."""
    found = []
    for header, *body in tables():
        column = next(n for n, cell in enumerate(header) if cell.split(":")[0] == language)
        owner = [name if "/" in name else f"{name}." for name in quoted(header[column])] or [""]
        for cells in body:
            names = [owner[0] + name for name in quoted(cells[column])]
            found.append(Row(cells[0], names))
    return found


def quoted(cell: str) -> list[str]:
    """Return the names in a cell."""
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("language", NAMES)
def test_every_name_on_the_page_is_declared(language: str) -> None:
    declared = NAMES[language]()
    unknown = [
        name
        for row in rows(language)
        for name in row.names
        if name not in declared and not (ROOT / name).is_file()
    ]

    assert unknown == []


@pytest.mark.parametrize("language", NAMES)
def test_a_name_that_is_not_declared_is_not_found(language: str) -> None:
    declared = NAMES[language]()

    assert len(declared) > 200
    assert not {"Nonsense", "Worker.nonsense", "Done.nonsense"} & declared


def test_every_row_has_a_cell_for_each_language_and_no_cell_is_empty() -> None:
    for table in tables():
        assert len(table) > 1
        assert all(len(cells) == 4 and all(cells[1:]) for cells in table), table


def test_no_option_of_the_python_client_is_left_out() -> None:
    listed = {name for row in rows("Python") for name in row.names}
    options = {
        f"{kind.__name__}.{name}"
        for kind in (
            *(mlxwire.ChatOptions, mlxwire.LoadOptions, mlxwire.MemoryOptions),
            *(mlxwire.ClassifyOptions, mlxwire.EmbedOptions, mlxwire.FitOptions),
        )
        for name in kind.__annotations__
    }
    for kind in (
        mlxwire.Worker,
        *(mlxwire.RestartPolicy, mlxwire.ShutdownLimits, mlxwire.LivenessLimits),
    ):
        options |= {f"{kind.__name__}.{key}" for key in keywords(kind.__init__)}
    of_methods = {
        key
        for method in (
            *(mlxwire.Model.generate, mlxwire.Model.batch, mlxwire.Model.classify),
            *(mlxwire.Model.render, mlxwire.Model.embed, mlxwire.Model.score),
            *(mlxwire.Model.rerank, mlxwire.Worker.discover, mlxwire.Worker.fit),
        )
        for key in keywords(method)
    }

    assert options - listed == set()
    assert of_methods <= {name.split(".")[-1] for name in listed}


def test_every_code_has_its_row_with_the_error_of_that_code() -> None:
    codes = {*WORKER_CODES, *CLIENT_CODES}
    by_language = {
        language: {
            quoted(row.concept)[0]: row.names[0].split(".")[-1]
            for row in rows(language)
            if row.concept.strip("`") in codes
        }
        for language in NAMES
    }
    go = re.findall(
        r'^\t(Err\w+) +Code = "(\w+)"', (GO / "errors.go").read_text(), re.MULTILINE
    )
    typescript = re.findall(
        r'^export class (\w+) [^}]*? static override readonly code = "(\w+)"',
        (TYPESCRIPT / "errors.ts").read_text(),
        re.MULTILINE,
    )

    assert by_language["Python"] == {
        kind.default_code: kind.__name__ for kind in mlxwire.MlxwireError.__subclasses__()
    }
    assert by_language["Go"] == {code: name for name, code in go}
    assert by_language["TypeScript"] == {code: name for name, code in typescript}
    assert by_language["Python"].keys() == codes


def test_nothing_that_may_become_of_a_worker_is_left_out() -> None:
    kinds = get_args(get_type_hints(mlxwire.WorkerChange)["kind"])
    listed = {name for row in rows("Python") for name in row.names}

    assert {f"WorkerChange.kind.{kind}" for kind in kinds} <= listed
