from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.direct import Direct
from support.model_worker import models, worker

__all__ = ["models", "worker"]

Open = Callable[..., Direct]


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
