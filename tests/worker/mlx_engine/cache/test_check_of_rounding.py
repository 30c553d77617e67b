"""The check of a model whose keys and values are quantized, on a device that rounds by shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn

from support.direct import Direct


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_model_loads_where_rounding_decides_between_two_codes(
    models: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    exact: Callable[..., mx.array] = nn.Embedding.__call__

    def rounded(self: nn.Embedding, ids: mx.array) -> Any:
        found = exact(self, ids)
        noise = mx.sin(mx.arange(found.shape[-1]) * float(ids.shape[-1]))
        return found + 1e-3 * mx.abs(found).max() * noise

    monkeypatch.setattr(nn.Embedding, "__call__", rounded)
    direct = Direct(models("qwen3"), kv_bits=bits, kv_group_size=32)

    assert direct.info.capabilities["batchable"] is True
    assert direct.info.capabilities["kv_bits"] == bits
    direct.close()
