"""The option of `make test-peers`: the Python that has PEFT, without which its tests are not collected."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("peers")
    group.addoption(
        "--peers", metavar="PYTHON", help="the Python with PEFT, transformers, torch"
    )
