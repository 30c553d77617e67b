from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.direct import Direct
from support.model_worker import loaded, worker
from support.template_helper import helper
from support.vectors import Vectors

__all__ = ["helper", "loaded", "worker"]

Open = Callable[..., Direct]


@pytest.fixture
def open_model(models: Callable[..., Path]) -> Iterator[Open]:
    """Yield a function that loads a family into an engine of this process."""
    opened: list[Direct] = []

    def opens(family: str, *, quantized: bool = False, **load: object) -> Direct:
        opened.append(Direct(models(family, quantized), **load))
        return opened[-1]

    yield opens
    for one in opened:
        one.close()


@pytest.fixture(scope="module")
def llama(models: Callable[..., Path]) -> Iterator[Direct]:
    """Yield one engine with Llama for a whole module. Tests empty its cache where that matters."""
    direct = Direct(models("llama3"))
    yield direct
    direct.close()


@pytest.fixture(scope="module")
def vectors() -> Iterator[Vectors]:
    """Yield one engine for vectors for a whole module."""
    engine = Vectors()
    yield engine
    engine.close()
