"""Options of `make test-forms`: which model, how many schemas, which families."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("forms")
    group.addoption("--every", action="store_true", help="every schema, not the first few")
    group.addoption("--model", type=Path, help="a model's folder in place of testdata/tiny")
    group.addoption("--families", action="store_true", help="each schema in each family's form")
    group.addoption("--hot", type=float, default=2.0, help="the temperature")
