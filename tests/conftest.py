from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from mlxwire_worker.mlx_engine.mlx_patches.blas import use_fast_blas
from support.tiny_model import TINY

use_fast_blas()  # before any test imports MLX
settings.register_profile("any machine", deadline=None)  # no verdict depends on its speed
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function from a family's name to a model's folder, built once; ``tiny`` is ours."""
    from factories import build_model  # imports MLX, which most tests do without

    @functools.cache
    def built(family: str, quantized: bool = False) -> Path:
        if family == "tiny":
            return TINY
        return build_model(family, tmp_path_factory.mktemp(family), quantized=quantized)

    return built
