"""The short run: what was found once, and a few thousand new cases for each target."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from support.repository import TESTDATA

from .cases import failure_of, from_json, to_json
from .targets import TARGETS

FOUND = TESTDATA / "fuzz"
CASES = {
    "framing": 12_000,
    "messages": 1_500,
    "worker": 2_000,
    "replies": 6_000,
    "client": 1_500,
}


@pytest.mark.parametrize("file", sorted(FOUND.glob("*.json")), ids=lambda file: file.stem)
def test_what_was_found_once_is_not_found_again(file: Path) -> None:
    target, case = from_json(file.read_text("utf-8"))

    with closing(TARGETS[target]()) as fed:
        assert failure_of(fed, case) is None


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_new_cases(name: str) -> None:
    dice, fed = random.Random(name), 0
    with closing(TARGETS[name]()) as target:
        for _ in range(CASES[name]):
            case = target.make(dice)
            try:
                fed += target.run(case)
            except Exception:
                print(to_json(name, case, "a file of this text, in testdata/fuzz/, repeats it"))
                raise

    assert fed > 2 * CASES[name]


@pytest.mark.parametrize("name", TARGETS)
def test_a_case_is_the_same_after_it_was_kept(name: str) -> None:
    dice = random.Random(name)
    with closing(TARGETS[name]()) as target:
        for _ in range(50):
            case = target.make(dice)
            assert from_json(to_json(name, case, "why")) == (name, case)
