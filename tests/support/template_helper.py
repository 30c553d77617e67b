"""The program that renders chat templates, started once for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess


@pytest.fixture(scope="module")
def helper() -> Iterator[TemplateProcess]:
    """Yield the running program."""
    process = TemplateProcess()
    process.check("warm")
    yield process
    process.close()
