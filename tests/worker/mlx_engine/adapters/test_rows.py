"""Rows of one batch compute with their own adapters, and rows without one as if there were none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import pytest
from mlx_lm.tuner.dora import DoRALinear
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

from factories.models import build_model
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.adapters.adapter import Adapter
from mlxwire_worker.mlx_engine.mlx_patches.direct_children import hold_children_directly
from support.adapters import random_adapter
from support.direct import Direct
from support.tiny_model import TINY
from zoo.builder import build

PROMPTS = ["The cat sat on", "What is 2 and 3?", "Once upon a time there was", "A"]


@pytest.fixture
def tiny() -> Iterator[Direct]:
    direct = Direct(TINY, parallel_slots=32)
    yield direct
    direct.engine.close()


def tokens(
    direct: Direct, prompts: list[tuple[str, str | None]], **options: Any
) -> list[list[int]]:
    """Return the answers' tokens of prompts with adapters, computed together."""
    made = [
        direct.add(
            direct.prepare(
                text, adapter=adapter, max_tokens=12, ignore_eos=True, logprobs=True, **options
            )
        )
        for text, adapter in prompts
    ]
    direct.finish()
    return [direct.answers[prompt].tokens for prompt in made]


def load(direct: Direct, name: str, seed: int, **options: Any) -> Adapter:
    adapter = random_adapter(direct.loaded, seed, **options)
    direct.loaded.adapters.load(name, adapter)
    return adapter


def test_each_row_of_a_mixed_batch_answers_as_alone(tiny: Direct) -> None:
    base = tokens(tiny, [(text, None) for text in PROMPTS], cache=False)
    load(tiny, "a", 1, rank=2)
    load(tiny, "b", 2, rank=8, method="dora")
    load(tiny, "c", 3, ends=("embed_tokens", "up_proj", "o_proj"))
    asked = [
        (text, name) for text in PROMPTS for name in (None, "a", "b", "c", None, "c", "b", "a")
    ]
    alone = {each: tokens(tiny, [each], cache=False)[0] for each in dict.fromkeys(asked)}

    together = tokens(tiny, asked, cache=False)

    assert len(asked) == 32
    assert together == [alone[each] for each in asked]
    assert [alone[text, None] for text in PROMPTS] == base
    assert len({tuple(alone[PROMPTS[0], name]) for name in (None, "a", "b", "c")}) == 4


def test_after_unloading_the_modules_stand_alone_again(tiny: Direct) -> None:
    before = dict(tiny.loaded.model.named_modules())
    (base,) = tokens(tiny, [("The cat", None)])
    load(tiny, "a", 1)
    (adapted,) = tokens(tiny, [("The cat", "a")])
    assert dict(tiny.loaded.model.named_modules()).keys() != before.keys()

    tiny.answers.clear()  # a prompt keeps its adapter
    tiny.engine.unload_adapter("a")

    assert dict(tiny.loaded.model.named_modules()) == before
    assert tokens(tiny, [("The cat", None)]) == [base]
    assert adapted != base
    with pytest.raises(WireError, match="none is loaded"):
        tiny.prepare("The cat", adapter="a")


def test_a_request_in_flight_keeps_the_adapter_whose_name_was_given_away(tiny: Direct) -> None:
    load(tiny, "a", 1)
    (first,) = tokens(tiny, [("The cat", "a")], cache=False)
    running = tiny.add(
        tiny.prepare("The cat", adapter="a", max_tokens=12, ignore_eos=True, cache=False)
    )
    tiny.step()
    tiny.step()

    load(tiny, "a", 2)
    second = tiny.add(
        tiny.prepare("The cat", adapter="a", max_tokens=12, ignore_eos=True, cache=False)
    )
    tiny.finish()

    assert tiny.answers[running].tokens == first
    assert tiny.answers[second].tokens != first
    assert len(tiny.loaded.adapters.infos) == 1


def test_the_prompt_cache_keeps_adapters_apart(tiny: Direct) -> None:
    load(tiny, "a", 1)
    text = "Once upon a time there was a cat that sat on a mat and ate. " * 3
    expected = [tokens(tiny, [(text, name)], cache=False)[0] for name in (None, "a")]
    tiny.forget()

    assert [tokens(tiny, [(text, name)])[0] for name in (None, "a", None, "a")] == expected * 2
    again = tiny.prepare(text, adapter="a", max_tokens=1)
    tiny.add(again)
    tiny.finish()
    assert again.cached_tokens == len(again.ids) - 1

    tiny.engine.unload_adapter("a")
    load(tiny, "a", 2)
    other = tiny.prepare(text, adapter="a", max_tokens=1)
    tiny.add(other)
    tiny.finish()
    assert other.cached_tokens == 0


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("family", ["llama3", "gemma3"])
def test_a_row_computes_what_mlx_lm_computes_with_the_adapter(
    tmp_path: Path, family: str, quantized: bool, method: Literal["lora", "dora"]
) -> None:
    path = build_model(family, tmp_path / "model", quantized=quantized)
    direct = Direct(path)
    try:
        ends = ("q_proj", "o_proj", "up_proj", "down_proj", "embed_tokens")
        ends = ends if method == "lora" else ("q_proj", "o_proj")
        adapter = load(direct, "a", 5, method=method, ends=ends)
        use = direct.loaded.adapters.named("a")
        ids = mx.array([[5, 6, 7, 8, 9, 10]])
        ours = direct.loaded.row_model(ids, [use], direct.loaded.policy.make())
        mx.eval(ours)
        del use
        direct.engine.unload_adapter("a")
        model = direct.loaded.model
        assert not direct.loaded.adapters.modules.keys() - dict(model.named_modules()).keys()
        model.update_modules(_as_mlx_lm_has_it(direct, adapter))
        hold_children_directly(model)
        theirs = model(ids)

        assert mx.allclose(ours, theirs, rtol=1e-3, atol=1e-3), mx.abs(ours - theirs).max()
    finally:
        direct.engine.close()


def _as_mlx_lm_has_it(direct: Direct, adapter: Adapter) -> Any:
    from mlx.utils import tree_unflatten

    made = []
    for path, tensors in adapter.modules.items():
        module: Any = direct.loaded.adapters.modules[path]
        kind: Any = LoRALinear
        if hasattr(module, "num_experts"):
            kind = LoRASwitchLinear
        elif "embed" in path:
            kind = LoRAEmbedding
        elif tensors.magnitude is not None:
            kind = DoRALinear
        layer = kind.from_base(module, r=adapter.rank, scale=tensors.scale)
        layer.lora_a, layer.lora_b = tensors.a, tensors.b
        if tensors.magnitude is not None:
            layer.m = tensors.magnitude
        made.append((path, layer))
    return tree_unflatten(made)


@pytest.mark.parametrize("name", ["qwen3_moe"])
def test_rows_of_experts_have_adapters_of_their_own(tmp_path: Path, name: str) -> None:
    direct = Direct(build(name, tmp_path / "model"), parallel_slots=8)
    try:
        ends = ("gate_proj", "down_proj", "q_proj")
        for number, adapter in enumerate("ab"):
            load(direct, adapter, number, ends=ends)
        asked = [(text, name) for text in PROMPTS[:2] for name in (None, "a", "b", "a")]
        alone = [tokens(direct, [each], cache=False)[0] for each in asked]

        assert tokens(direct, asked, cache=False) == alone
        assert len(set(map(tuple, alone[:3]))) == 3
    finally:
        direct.engine.close()
