"""The whole kit against each of this repository's clients, through their drivers."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.cases import Case, Outcome, judge, read_expected, run_cases, unknown
from conformance.cli import cases_of
from conformance.clients import DRIVERS

pytestmark = pytest.mark.timeout(900)  # the first test of a client waits for all of its cases
EXPECTED = Path(__file__).with_name("expected_failures")
NAMES = [case.name for case in cases_of("client", [])]


@pytest.fixture(scope="session", params=DRIVERS)
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest, client: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome]:
    """Run the chosen cases of a client once, some at a time; return their outcomes."""

    def is_chosen(case: Case) -> bool:
        specs = [getattr(item, "callspec", None) for item in request.session.items]
        wanted = {"client": client, "name": case.name}
        return any(spec is not None and spec.params == wanted for spec in specs)

    driver = DRIVERS[client](tmp_path_factory.mktemp(client))
    chosen = [case for case in cases_of("client", driver) if is_chosen(case)]
    return {outcome.name: outcome for outcome in run_cases(chosen)}


@pytest.mark.parametrize("name", NAMES)
def test_a_client_conforms(client: str, name: str, outcomes: dict[str, Outcome]) -> None:
    expected = read_expected(EXPECTED / f"{client}.txt")
    assert judge(outcomes[name], expected) == []
    if outcomes[name].failures:
        pytest.xfail(f"{expected[name]}: {outcomes[name].failures[0]}")


def test_every_expected_failure_is_of_a_case(client: str) -> None:
    expected = read_expected(EXPECTED / f"{client}.txt")
    assert unknown(expected, cases_of("client", [])) == []
