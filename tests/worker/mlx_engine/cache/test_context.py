"""Past the context: refused with both numbers, or a rotating window; and quantized keys and values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import RotatingKVCache

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.models import assembly
from support.direct import Direct
from worker.mlx_engine.conftest import Open
from zoo.builder import build

WINDOW = 48


def test_a_prompt_that_leaves_no_room_is_refused_with_both_numbers(open_model: Open) -> None:
    direct = open_model("llama3", context_len=WINDOW)
    fits = direct.prepare("a " * 40)
    size = len(fits.ids)
    text = "a " * (40 + WINDOW - size)
    with pytest.raises(WireError) as refused:
        direct.prepare(text)

    assert refused.value.code == "context_overflow"
    told = refused.value.data
    assert (told["prompt_tokens"], told["context_len"]) == (WINDOW, WINDOW)
    assert str(WINDOW) in str(refused.value)


def test_an_answer_ends_where_the_context_does(open_model: Open) -> None:
    direct = open_model("llama3", context_len=WINDOW)
    prompt = direct.prepare("a b c", max_tokens=1000, ignore_eos=True)

    (answer,) = direct.run([prompt])

    assert answer.ended == "length"
    assert len(prompt.ids) + len(answer.tokens) == WINDOW


def test_a_window_rotates_if_the_model_can(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"context_len": WINDOW, "context_policy": "rotate_if_possible"}
    rotating = open_model("llama3", **asked)
    monkeypatch.setattr(assembly, "can_rotate", lambda _: False)
    refusing = open_model("llama3", **{**asked, "context_len": WINDOW + 1})
    lengths = []
    for direct in (rotating, refusing):
        prompt = direct.prepare("a b c", max_tokens=2 * WINDOW, ignore_eos=True)
        (answer,) = direct.run([prompt])
        lengths.append(len(answer.tokens))

    assert rotating.loaded.info.capabilities["context_policy"] == "rotate"
    assert refusing.loaded.info.capabilities["context_policy"] == "refuse"
    assert lengths == [2 * WINDOW, WINDOW + 1 - len(prompt.ids)]


def windowed(direct: Direct, ids: list[int], tokens: int) -> list[int]:
    """Return greedy text by rotating caches alone, one token at a time: the meaning of a window."""
    model = direct.loaded.model
    layers = [RotatingKVCache(max_size=WINDOW, keep=0) for _ in model.layers]
    fed, made = list(ids), []
    while len(made) < tokens:
        for token in fed:
            logits = model(mx.array([[token]]), cache=layers)
        fed = [int(mx.argmax(logits[0, -1]).item())]  # type: ignore[arg-type]
        made += fed
    return made


@pytest.mark.parametrize("family", ["llama3", "qwen3", "gemma3"])
def test_a_rotating_window_goes_on_past_the_context_alone_and_in_a_batch(
    open_model: Open, family: str
) -> None:
    direct = open_model(family, context_len=WINDOW, context_policy="rotate")
    direct.runner._chunk.tokens = 32
    direct.runner._chunk._seconds = 1e-9
    lengths = [3, 20, WINDOW - 1, WINDOW, WINDOW + 1, 150, 7, 64]
    prompts = [
        [100 + (place * 31 + n * 7) % 190 for n in range(length)]
        for place, length in enumerate(lengths)
    ]
    options: dict[str, Any] = {"max_tokens": 70, "ignore_eos": True}
    alone = [direct.tokens(ids, cache=False, **options) for ids in prompts]

    together = direct.run([direct.prepare(ids, **options) for ids in prompts])

    assert [answer.tokens for answer in together] == alone
    assert {len(tokens) for tokens in alone} == {70}
    if family != "gemma3":  # which has windows of its own
        for ids, tokens in list(zip(prompts, alone, strict=True))[2:6]:
            assert windowed(direct, ids, 70) == tokens


def test_a_rotating_window_bounds_memory(open_model: Open) -> None:
    direct = open_model("llama3", context_len=WINDOW, context_policy="rotate")
    prompt = direct.add(direct.prepare([120] * 400, max_tokens=300, ignore_eos=True))
    direct.decoding(prompt, 200)

    assert direct.runner.nbytes <= WINDOW * direct.loaded.guard.bytes_per_token
    direct.finish()


def test_a_turn_that_goes_on_from_a_rotated_window_reuses_it(open_model: Open) -> None:
    direct = open_model("llama3", context_len=WINDOW, context_policy="rotate")
    first = direct.prepare([120 + n % 50 for n in range(90)], max_tokens=20, ignore_eos=True)
    (answer,) = direct.run([first])
    longer = [*first.ids, *answer.tokens, 130, 131]
    expected = direct.tokens(longer, max_tokens=9, cache=False, ignore_eos=True)

    second = direct.prepare(longer, max_tokens=9, ignore_eos=True)
    (again,) = direct.run([second])

    assert len(second.ids) - second.cached_tokens <= 3
    assert again.tokens == expected


# -- quantized keys and values -------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 4])
def test_quantized_keys_and_values_answer_and_are_reused(open_model: Open, bits: int) -> None:
    plain, direct = (
        open_model("tiny"),
        open_model("tiny", kv_bits=bits, kv_group_size=32),
    )
    assert direct.info.parallel_slots == plain.info.parallel_slots > 1
    assert direct.info.capabilities == {**plain.info.capabilities, "kv_bits": bits}
    assert direct.info.capabilities["batchable"] is True
    assert direct.engine.warnings == plain.engine.warnings
    assert direct.loaded.guard.bytes_per_token < plain.loaded.guard.bytes_per_token * bits / 11

    story = [{"role": "user", "content": "Tell me a story about a cat."}]
    sums = [{"role": "user", "content": "What is 47 + 38?"}]
    texts = []
    for one in (plain, direct):
        answers = one.run([one.prepare_chat(m, max_tokens=60) for m in (story, sums)])
        texts.append([one.loaded.tokenizer.decode(answer.tokens) for answer in answers])
    assert texts[1][1] == "85"
    if bits == 8:
        assert texts[0] == texts[1]

    fresh = direct.prepare_chat(story, max_tokens=20, cache=False)
    reused = direct.prepare_chat(story, max_tokens=20)
    (expected,), (got,) = direct.run([fresh]), direct.run([reused])
    assert got.tokens == expected.tokens
    assert len(reused.ids) - reused.cached_tokens == 1


@pytest.mark.parametrize(
    ("family", "load", "field"),
    [
        ("tiny", {"kv_bits": 8}, "kv_group_size"),
        ("qwen2", {"kv_bits": 8, "kv_group_size": 32}, "kv_group_size"),
        ("tiny", {"kv_bits": 8, "context_policy": "rotate", "context_len": 99}, "kv_bits"),
        ("tiny", {"context_len": 10**6}, "context_len"),
    ],
)
def test_a_kind_of_cache_that_the_model_can_not_have_is_refused_by_name(
    models: Callable[..., Path], family: str, load: dict[str, Any], field: str
) -> None:
    with pytest.raises(WireError) as refused:
        Direct(models(family), **load)

    assert (refused.value.code, refused.value.field) == ("invalid_params", field)


def test_a_refused_group_size_tells_the_widths_and_which_would_do(
    models: Callable[..., Path],
) -> None:
    for family, told in (("tiny", r"values, 32; send 32, or"), ("qwen2", r"values, 16; leave")):
        with pytest.raises(WireError, match=told):
            Direct(models(family), kv_bits=8, kv_group_size=64)


@pytest.mark.parametrize("animal", ["mamba", "recurrent_gemma"])
def test_a_model_without_growing_caches_refuses_quantized_ones(
    tmp_path: Path, animal: str
) -> None:
    folder = build(animal, tmp_path)
    with pytest.raises(WireError, match="ArraysCache") as refused:
        Direct(folder, kv_bits=8, kv_group_size=32)

    assert (refused.value.code, refused.value.field) == ("invalid_params", "kv_bits")


def test_a_window_that_is_only_wished_for_gives_way_to_quantized_caches(
    open_model: Open,
) -> None:
    direct = open_model(
        "tiny",
        context_len=WINDOW,
        context_policy="rotate_if_possible",
        kv_bits=8,
        kv_group_size=32,
    )

    told = direct.info.capabilities
    assert (told["context_policy"], told["kv_bits"]) == ("refuse", 8)


def test_options_that_slow_down_or_do_nothing_are_warned_of(
    open_model: Open, tmp_path: Path
) -> None:
    (idle,) = open_model("tiny", kv_group_size=32).engine.warnings
    assert "`kv_group_size` has no effect" in idle
    direct = Direct(build("gemma2", tmp_path), kv_bits=8, kv_group_size=32)
    slow = [told for told in direct.engine.warnings if "`kv_bits`" in told]
    direct.close()
    assert len(slow) == 1
