"""Classification in slices: what is computed does not depend on how it was cut."""

from __future__ import annotations

import gc
from collections.abc import Callable

import mlx.core as mx
import pytest

from mlxwire_protocol.messages import Classify
from mlxwire_worker.mlx_engine.sequences.prefill import ChunkSize
from mlxwire_worker.passes import Classified
from support.direct import Direct
from support.engine_prompts import classify_prompts_of
from worker.mlx_engine.conftest import Open

LABELS = ["yes", " no", "perhaps, or not at all, or only on some days of the week"]


def classify(direct: Direct, prompts: list[str]) -> tuple[dict[int, Classified], int]:
    """Return results by place, and the number of slices."""
    request = Classify(id="c", prompts=prompts, labels=LABELS)
    prepared = classify_prompts_of(direct.engine, request)
    found: dict[int, Classified] = {}
    slices = 0
    while len(found) < len(prompts):
        found.update(direct.engine.classify(prepared))
        slices += 1
    return found, slices


def cut_to(direct: Direct, tokens: int, patch: pytest.MonkeyPatch) -> None:
    """Let every slice have this many tokens, whatever it takes."""
    patch.setattr(ChunkSize, "learn", lambda *_: None)
    direct.loaded.chunk.tokens = tokens


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "llama3"])
def test_scores_are_the_same_however_the_work_is_cut(
    open_model: Open, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = ["The weather in Paris is", "Is 7 a prime number? Answer:", "one two " * 20]
    direct = open_model(family)
    cut_to(direct, 2048, monkeypatch)
    whole, _ = classify(direct, prompts)
    for tokens in (1, 7, 16):
        cut_to(direct, tokens, monkeypatch)
        found, _ = classify(direct, prompts)
        assert found.keys() == whole.keys()
        for place, item in found.items():
            assert item.token_id == whole[place].token_id
            assert item.logprob == pytest.approx(whole[place].logprob, abs=1e-4)
            assert item.labels == pytest.approx(whole[place].labels, abs=1e-4)


def test_prompts_that_differ_by_one_token_alone_can_be_padded(open_model: Open) -> None:
    direct = open_model("gemma3")
    found, _ = classify(direct, ["one", "one two", "one"])

    assert found[0].token_id == found[2].token_id
    assert found[0].labels == pytest.approx(found[2].labels, abs=1e-4)


def test_a_long_prompt_is_left_between_its_slices(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = open_model("qwen3")
    cut_to(direct, 64, monkeypatch)
    prompt = "one two three " * 200

    found, slices = classify(direct, [prompt])

    assert len(found) == 1
    assert slices > len(direct.prepare(prompt).ids) / 64


def check_no_growth(work: Callable[[], None]) -> None:
    """Check that work leaves no more memory each time, with Python's collector off.

    What the model keeps, such as the last table of positions, differs by some bytes from time to time.
    """
    work()
    gc.collect()
    gc.disable()
    try:
        held = []
        for _ in range(10):
            work()
            held.append(mx.get_active_memory())
        assert min(held[5:]) <= max(held[:5])
    finally:
        gc.enable()


def test_work_that_is_done_or_dropped_leaves_nothing_to_the_collector(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = open_model("qwen3")
    cut_to(direct, 16, monkeypatch)

    def work() -> None:
        classify(direct, ["one two three", "four"])
        dropped = classify_prompts_of(direct.engine, Classify(id="c", prompts=["one " * 40]))
        direct.engine.classify(dropped)

    check_no_growth(work)
