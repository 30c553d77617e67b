"""The tables themselves: their page, and that a wrong answer to a cell is seen."""

from __future__ import annotations

from typing import Any

import pytest

from architecture.sources import ROOT
from conformance.driver import HERE
from conformance.tables import stopping
from conformance.tables.cells import Between, Cell, judge
from conformance.tables.page import PAGE, page
from conformance.tables.table_cases import TABLES


def test_the_page_says_what_the_table_says() -> None:
    assert (ROOT / PAGE).read_text("utf-8") == page(), "write it anew: see tables/page.py"


def test_no_two_cells_have_one_name() -> None:
    names = [cell.name for cells in TABLES.values() for cell in cells()]

    assert len(names) == len(set(names))
    assert len(names) >= 600


def test_every_cause_and_phase_is_tried_with_every_command() -> None:
    names = {
        cell.name
        for cell in stopping.cells()
        if cell.ask["do"] == "stop" and not cell.ask.get("collect")
    }

    assert len(names) == len(stopping.CAUSES) * len(stopping.PHASES) * len(stopping.COMMANDS)


def test_the_driver_contract_names_all_that_a_cell_may_ask() -> None:
    contract = (HERE / "DRIVER.md").read_text("utf-8").split("## The cells")[1]
    asked = [cell.ask for cells in TABLES.values() for cell in cells()]
    fields = {field for ask in asked for field in ask}
    values = {
        str(ask[name]) for ask in asked for name in ("do", "cause", "phase") if name in ask
    }

    assert [word for word in sorted(fields | values) if f"`{word}`" not in contract] == []


@pytest.mark.parametrize(
    ("due", "answer", "wrong"),
    [
        ({"outcome": "ok"}, {"outcome": "ok"}, False),
        ({"outcome": "ok"}, {"outcome": "cancelled"}, True),
        ({"outcome": "ok"}, {"outcome": "hangs"}, True),
        ({"outcome": "ok"}, {"outcome": "untyped"}, True),
        ({"outcome": "ok"}, {}, True),
        ({"taken": 3}, {"outcome": "ok", "taken": 1}, True),
        ({"taken": 3}, {"outcome": "no_such_code", "taken": 3}, True),
        ({"outcome": "from_the_future"}, {"outcome": "from_the_future"}, False),
        ({"beside": None}, {"outcome": "ok", "beside": "protocol_violation"}, True),
        ({"sent": {0, None}}, {"sent": None}, False),
        ({"sent": {0, None}}, {"sent": 1}, True),
        ({"pause": Between(0.4, 0.6)}, {"pause": 0.5}, False),
        ({"pause": Between(0.4, 0.6)}, {"pause": 0}, True),
        ({"pause": Between(0.4, 0.6)}, {"pause": None}, True),
        ({"outcome": "invalid_params"}, {"lacks": "its type has no NaN"}, False),
    ],
)
def test_an_answer_is_held_to_what_is_due(
    due: dict[str, Any], answer: dict[str, Any], wrong: bool
) -> None:
    assert bool(judge(Cell("name", {}, due), answer)) is wrong


@pytest.mark.parametrize(
    ("message", "wrong"),
    [
        ("`maxTokens` is -1; give an integer", False),
        ("`max_tokens` is -1; give an integer", True),
        ("`maxTokensAtOnce` is -1", True),
        (None, True),
    ],
)
def test_an_error_must_name_the_option(message: str | None, wrong: bool) -> None:
    cell = Cell("name", {}, {}, names_option=True)

    assert bool(judge(cell, {"option": "maxTokens", "message": message})) is wrong
