"""The guard: what is deferred, what gives way first, and that nobody waits in vain."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import mlx.core as mx
import pytest

from support.direct import Direct


@pytest.fixture
def guarded(llama: Direct) -> Iterator[Direct]:
    llama.forget()
    yield llama
    llama.loaded.guard.limit = 0


def fill_cache(direct: Direct) -> int:
    for number in range(4):
        direct.answer([number + 9] * 500, max_tokens=1)
    mx.synchronize()
    return direct.loaded.cache.tree.nbytes


def test_bytes_per_token_are_what_a_sequence_takes(guarded: Direct) -> None:
    row = guarded.add(guarded.prepare([9] * 511, max_tokens=3, ignore_eos=True))
    guarded.decoding(row)

    guard = guarded.loaded.guard
    assert 512 * guard.bytes_per_token <= guarded.runner.nbytes <= guard.sequence_bytes(512)
    guarded.finish()


def test_a_request_alone_is_always_let_in_and_the_cache_gives_way_to_it(
    guarded: Direct,
) -> None:
    held = fill_cache(guarded)
    guard = guarded.loaded.guard
    wanted = guarded.prepare([7] * 400, max_tokens=112)
    guard.limit = mx.get_active_memory() + guard.sequence_bytes(512) - held // 2

    assert guarded.engine.has_room(wanted)

    assert held // 4 <= guarded.loaded.cache.tree.nbytes <= held // 2
    guard.limit = 1
    assert guarded.engine.has_room(wanted)
    assert len(guarded.loaded.cache.tree) == 0


def test_a_request_that_must_wait_anyway_costs_the_cache_nothing(guarded: Direct) -> None:
    held = fill_cache(guarded)
    running = guarded.add(guarded.prepare([7] * 400, max_tokens=100, ignore_eos=True))
    guarded.decoding(running)
    guarded.loaded.guard.limit = mx.get_active_memory() // 2

    assert not guarded.engine.has_room(guarded.prepare([8] * 100, max_tokens=100))

    assert guarded.loaded.cache.tree.nbytes >= held
    guarded.finish()
    assert guarded.engine.has_room(guarded.prepare([8] * 100, max_tokens=100))


def test_clearing_the_cache_gives_its_memory_back_at_once(guarded: Direct) -> None:
    gc.collect()
    gc.disable()
    try:
        before = mx.get_active_memory()
        held = fill_cache(guarded)
        full = mx.get_active_memory()
        guarded.forget()
        mx.synchronize()
        assert full - before >= held
        assert mx.get_active_memory() - before < held / 10
    finally:
        gc.enable()


def test_no_more_are_let_in_than_the_limit_has_room_for(guarded: Direct) -> None:
    guard = guarded.loaded.guard
    gc.collect()
    mx.synchronize()
    guard.limit = mx.get_active_memory() + 4 * guard.sequence_bytes(200) + (1 << 16)
    waiting = [
        guarded.prepare([20 + n] * 100, max_tokens=100, ignore_eos=True) for n in range(9)
    ]
    most, peak = 0, 0
    while waiting or len(guarded.runner):
        while waiting and guarded.engine.has_room(waiting[0]):
            guarded.add(waiting.pop(0))
        guarded.step()
        mx.synchronize()  # what is on its way holds its inputs
        most = max(most, len(guarded.runner))
        peak = max(peak, mx.get_active_memory())

    assert 2 <= most <= 4
    # What ends goes into the prompt cache before its place in the batch is given up.
    assert peak <= guard.limit + guard.sequence_bytes(200)
    assert all(answer.ended == "length" for answer in guarded.answers.values())
