"""Options of `make zoo`: which animals, which weights, which prompts."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("zoo")
    group.addoption("--every", action="store_true", help="every architecture, not the subset")
    group.addoption("--seed", type=int, default=0, help="of the random weights")
    group.addoption("--only", default="", help="names of architectures, with commas between")
    group.addoption("--prompt", action="append", help="a text in place of ours; give four")
    group.addoption("--write-page", action="store_true", help="write docs/models.md anew")
