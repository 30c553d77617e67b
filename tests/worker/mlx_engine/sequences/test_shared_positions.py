"""A batch's layers agree about their rows' positions, so each step computes them once."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from worker.mlx_engine.conftest import Open


@pytest.mark.parametrize(("family", "frequencies"), [("qwen3", 1), ("gemma3", 2)])
def test_a_step_of_a_batch_computes_its_positions_once_for_all_layers(
    open_model: Open, monkeypatch: pytest.MonkeyPatch, family: str, frequencies: int
) -> None:
    computed: list[mx.array] = []
    rotate = mx.fast.rope

    def counting(*args: Any, **options: Any) -> mx.array:
        if not isinstance(options["offset"], int):
            computed.append(options["offset"])
        return rotate(*args, **options)

    monkeypatch.setattr(mx.fast, "rope", counting)
    direct = open_model(family)
    prompts = [
        direct.add(direct.prepare(text, max_tokens=50, ignore_eos=True))
        for text in ("one two three", "four")
    ]
    for prompt in prompts:
        direct.decoding(prompt)
    computed.clear()
    direct.step()
    direct.step()

    first, second = computed[:frequencies], computed[frequencies:]
    assert [offsets.tolist() for offsets in second] == [(o + 1).tolist() for o in first]
    assert first[0].tolist()[0] != first[0].tolist()[1]
