"""The whole kit against each of this repository's clients, through their drivers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.cases import Case, Outcome, judge, read_expected, run_cases, unknown
from conformance.cli import cases_of
from conformance.clients import DRIVERS

pytestmark = pytest.mark.timeout(900)  # the first test of a client waits for all of its cases
EXPECTED = Path(__file__).with_name("expected_failures")
NAMES = [case.name for case in cases_of("client", [])]
Outcomes = Callable[[str], dict[str, Outcome]]


@pytest.fixture(scope="session")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Outcomes:
    """Runs those cases of a client whose tests were chosen, some at a time, once."""
    known: dict[str, dict[str, Outcome]] = {}

    def run(client: str) -> dict[str, Outcome]:
        if client not in known:
            driver = DRIVERS[client](tmp_path_factory.mktemp(client))
            chosen = [case for case in cases_of("client", driver) if is_chosen(client, case)]
            known[client] = {outcome.name: outcome for outcome in run_cases(chosen)}
        return known[client]

    def is_chosen(client: str, case: Case) -> bool:
        params = [getattr(item, "callspec", None) for item in request.session.items]
        wanted = {"client": client, "name": case.name}
        return any(spec is not None and spec.params == wanted for spec in params)

    return run


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("client", DRIVERS)
def test_a_client_conforms(client: str, name: str, outcomes: Outcomes) -> None:
    expected = read_expected(EXPECTED / f"{client}.txt")
    outcome = outcomes(client)[name]
    assert judge(outcome, expected) == []
    if outcome.failures:
        pytest.xfail(f"{expected[name]}: {outcome.failures[0]}")


@pytest.mark.parametrize("client", DRIVERS)
def test_every_expected_failure_is_of_a_case(client: str) -> None:
    expected = read_expected(EXPECTED / f"{client}.txt")
    assert unknown(expected, cases_of("client", [])) == []
