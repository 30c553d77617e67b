from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from factories import build_model

from .direct import Direct

TINY = Path(__file__).parents[2] / "testdata" / "tiny"
Open = Callable[..., Direct]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Builds each model once; ``tiny`` is the trained one."""

    @functools.cache
    def built(family: str, quantized: bool = False) -> Path:
        if family == "tiny":
            return TINY
        return build_model(family, tmp_path_factory.mktemp(family), quantized=quantized)

    return built


@pytest.fixture
def open_model(models: Callable[..., Path]) -> Iterator[Open]:
    """Loads a family into an engine of this process."""
    opened: list[Direct] = []

    def opens(family: str, *, quantized: bool = False, **load: object) -> Direct:
        opened.append(Direct(models(family, quantized), **load))
        return opened[-1]

    yield opens
    for one in opened:
        one.close()


@pytest.fixture(scope="module")
def llama(models: Callable[..., Path]) -> Iterator[Direct]:
    """One engine with Llama for a whole module. Tests empty its cache where that matters."""
    direct = Direct(models("llama3"))
    yield direct
    direct.close()
