"""A cut leaves a whole cache, and `trim` refuses every other cut."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import (
    ArraysCache,
    CacheList,
    ChunkedKVCache,
    ConcatenateKVCache,
    KVCache,
    RotatingKVCache,
)

from mlxwire_worker.mlx_engine.cache.trimming import keeps_all, trim


class Sliding(KVCache):
    """A class of a later mlx-lm, which says that it can be trimmed."""


def filled(layer: Any, tokens: int, slices: int = 1) -> Any:
    for start in range(0, tokens, slices):
        if hasattr(layer, "maybe_trim_front"):
            layer.maybe_trim_front()
        size = min(slices, tokens - start)
        values = mx.arange(start, start + size).astype(mx.float32).reshape(1, 1, size, 1)
        layer.update_and_fetch(values, values)
    return layer


@pytest.mark.parametrize("make", [KVCache, ConcatenateKVCache])
@pytest.mark.parametrize("wanted", [1, 5, 9])
def test_what_is_left_goes_on_behind_the_last_token(make: Any, wanted: int) -> None:
    layer = filled(make(), 10)
    assert keeps_all(layer)
    assert trim([layer], 10, wanted)
    one = mx.full((1, 1, 1, 1), 77.0)
    keys, _ = layer.update_and_fetch(one, one)
    assert keys.reshape(-1).tolist() == [*range(wanted), 77.0]


@pytest.mark.parametrize(
    ("layer", "wanted", "cut"),
    [
        (ChunkedKVCache(8), 3, False),
        (ChunkedKVCache(8), 15, False),  # its chunk began at 8, before the window
        (ChunkedKVCache(8), 17, True),
        (ChunkedKVCache(64), 3, True),
        (RotatingKVCache(8), 3, False),
        (RotatingKVCache(20), 3, False),
        (RotatingKVCache(21), 3, True),
        (Sliding(), 3, False),
    ],
)
def test_a_layer_is_cut_only_if_its_window_has_not_slid(
    layer: Any, wanted: int, cut: bool
) -> None:
    filled(layer, 20)
    before = layer.offset
    assert trim([filled(KVCache(), 20), layer], 20, wanted) is cut
    assert layer.offset == (wanted if cut else before)
    assert not keeps_all(layer)


def test_a_list_is_cut_only_if_each_child_can_be() -> None:
    good, bad = filled(KVCache(), 9), filled(RotatingKVCache(4), 9)
    assert not trim([CacheList(good, bad)], 9, 2)
    assert good.offset == 9
    assert not trim([CacheList(good, ArraysCache(2))], 9, 2)
    assert trim([CacheList(good, filled(KVCache(), 9))], 9, 2)
    assert good.offset == 2


def test_a_cache_of_other_length_than_told_is_not_cut() -> None:
    assert not trim([filled(KVCache(), 9)], 8, 2)
