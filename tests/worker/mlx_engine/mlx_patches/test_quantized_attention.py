"""Attention over quantized keys and values is that over the dequantized ones."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models import base

from mlxwire_worker.mlx_engine.mlx_patches.quantized_attention import (
    quantized_attention,
    replace_quantized_attention,
)

ROWS, HEADS, LENGTH, HELD, WIDTH = 2, 6, 5, 40, 64
MASKS: dict[str, Any] = {
    "none": None,
    "causal": "causal",
    "for all rows": mx.arange(HELD) % 3 > 0,
    "for each row": mx.random.uniform(shape=(ROWS, 1, LENGTH, HELD), key=mx.random.key(3))
    > 0.3,
    "for each head": mx.random.uniform(shape=(ROWS, HEADS, 1, HELD), key=mx.random.key(4))
    > 0.3,
    "added": mx.random.normal((LENGTH, HELD), key=mx.random.key(5)),
}


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("mask", MASKS)
def test_it_is_attention_over_the_dequantized_numbers(mask: str, groups: int) -> None:
    queries = mx.random.normal((ROWS, HEADS, LENGTH, WIDTH), key=mx.random.key(0))
    form: dict[str, int] = {"group_size": 32, "bits": 4}
    packed: list[Any] = [
        mx.quantize(
            mx.random.normal((ROWS, groups, HELD, WIDTH), key=mx.random.key(seed)), **form
        )
        for seed in (1, 2)
    ]
    whole: list[Any] = [mx.dequantize(*part, **form) for part in packed]

    ours = quantized_attention(queries, packed[0], packed[1], 0.2, MASKS[mask], **form)

    asked = MASKS[mask]
    if isinstance(
        asked, mx.array
    ):  # broadcast by hand: MLX's own takes no fewer axes than these
        asked = mx.broadcast_to(asked, (ROWS, HEADS, LENGTH, HELD))
    own = mx.fast.scaled_dot_product_attention(queries, *whole, scale=0.2, mask=asked)
    assert ours.shape == own.shape
    assert mx.allclose(ours, own, rtol=1e-4, atol=1e-5)


def test_mlx_lms_attention_uses_it_for_caches_with_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "quantized_scaled_dot_product_attention", None)
    replace_quantized_attention()
    cache = type("Cache", (), {"bits": 8, "group_size": 32})()
    numbers = mx.random.normal((1, 2, 7, 32), key=mx.random.key(0))
    packed: Any = mx.quantize(numbers, group_size=32, bits=8)
    # For each head a mask of its own, which mlx-lm's function can't take.
    mask = mx.arange(4)[None, :, None, None] >= mx.arange(7) % 4
    queries = mx.random.normal((1, 4, 1, 32), key=mx.random.key(1))

    attended = base.scaled_dot_product_attention(queries, packed, packed, cache, 1.0, mask)

    assert attended.shape == (1, 4, 1, 32)
