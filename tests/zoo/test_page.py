from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .page import PAGE, render, row, served
from .refused import NOT_BUILT, refused_somewhere


def test_the_page_names_every_architecture() -> None:
    page = PAGE.read_text(encoding="utf-8")
    names = [*served(), *refused_somewhere(), *NOT_BUILT]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_page_tells_what_the_loads_tell(
    request: pytest.FixtureRequest, built: Callable[[str], Path]
) -> None:
    option = request.config.getoption
    if not option("every", default=False) or option("only", default=""):
        page = PAGE.read_text(encoding="utf-8")
        assert row("llama", built("llama")) in page
        return
    page = render([row(name, built(name)) for name in served()])
    if option("write_page", default=False):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page
