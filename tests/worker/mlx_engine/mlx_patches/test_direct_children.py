"""A loaded model's parts are found without `nn.Module.__getattr__`, and are the same parts."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from mlx import nn
from mlx_lm.utils import load_model

from factories import FAMILIES
from mlxwire_worker.mlx_engine.mlx_patches.direct_children import hold_children_directly
from support.direct import Direct
from support.model_worker import Models

IDS = mx.array([[1, 2, 3, 4, 5]])


@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "quantized"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_forward_pass_is_the_same_and_misses_no_part(
    models: Models, monkeypatch: pytest.MonkeyPatch, family: str, quantized: bool
) -> None:
    model, _ = load_model(Path(models(family, quantized)))
    before = model(IDS)
    missed: list[str] = []
    look = nn.Module.__getattr__

    def noting(module: nn.Module, name: str) -> object:
        found: object = look(module, name)
        if isinstance(found, nn.Module | list):
            missed.append(name)
        return found

    monkeypatch.setattr(nn.Module, "__getattr__", noting)
    model(IDS)
    assert "self_attn" in missed
    hold_children_directly(model)
    missed.clear()

    assert mx.array_equal(model(IDS), before)
    assert missed == []


def test_a_loaded_model_is_held_so(models: Models) -> None:
    direct = Direct(models("qwen3"))
    layers = direct.loaded.model.layers
    direct.close()
    assert layers
    assert all(vars(layer)["self_attn"] is layer["self_attn"] for layer in layers)
