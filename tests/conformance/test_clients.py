"""The whole kit against each of this repository's clients, through their drivers."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.cases import Case, Outcome, judge, read_expected, run_cases, unknown
from conformance.clients import DRIVERS
from conformance.fault_matrix import fault_cases
from conformance.scenarios import scenario_cases
from conformance.tables.table_cases import TABLES, known_failures, table_cases

pytestmark = pytest.mark.timeout(900)  # the first test of a client waits for all of its cases
EXPECTED = Path(__file__).with_name("expected_failures")
NAMES = [case.name for case in (*scenario_cases([]), *fault_cases([]))]


@pytest.fixture(scope="session", params=DRIVERS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def driver(client: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return DRIVERS[client](tmp_path_factory.mktemp(client))


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest, client: str, driver: list[str]
) -> dict[str, Outcome]:
    """Run the chosen cases of a client once, some at a time; return their outcomes."""

    def is_chosen(case: Case) -> bool:
        specs = [getattr(item, "callspec", None) for item in request.session.items]
        wanted = {"client": client, "name": case.name}
        return any(spec is not None and spec.params == wanted for spec in specs)

    cases = (*scenario_cases(driver), *fault_cases(driver))
    chosen = [case for case in cases if is_chosen(case)]
    return {outcome.name: outcome for outcome in run_cases(chosen)}


@pytest.mark.parametrize("name", NAMES)
def test_a_client_conforms(client: str, name: str, outcomes: dict[str, Outcome]) -> None:
    expected = read_expected(EXPECTED / f"{client}.txt")
    assert judge(outcomes[name], expected) == []
    if outcomes[name].failures:
        pytest.xfail(f"{expected[name]}: {outcomes[name].failures[0]}")


def test_every_expected_failure_is_of_a_case(client: str) -> None:
    expected = read_expected(EXPECTED / f"{client}.txt")
    assert unknown(expected, [*scenario_cases([]), *fault_cases([])]) == []


@pytest.mark.parametrize("table", TABLES)
def test_a_client_gives_what_each_cell_of_a_table_says(
    client: str, table: str, driver: list[str]
) -> None:
    wrong = {
        outcome.name: outcome.failures
        for outcome in run_cases(list(table_cases(driver, [table])))
    }
    known = {cell for of, cell in known_failures() if of == client and cell in wrong}
    news = [str(each) for name, found in wrong.items() if name not in known for each in found]
    assert news == []
    assert [cell for cell in sorted(known) if not wrong[cell]] == [], "strike these lines out"


def test_every_known_failure_is_of_a_client_and_a_cell() -> None:
    cells = {case.name for case in table_cases([])}
    strangers = [each for each in known_failures() if not {each[0]} <= DRIVERS.keys()]
    assert strangers == []
    assert {cell for _, cell in known_failures()} <= cells
