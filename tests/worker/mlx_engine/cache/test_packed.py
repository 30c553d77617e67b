"""Quantized caches hold each row's numbers as if it were alone, whatever happens to the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import KVCache

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine import abilities
from mlxwire_worker.mlx_engine.cache import kv, lending, packing
from mlxwire_worker.mlx_engine.cache.packed import Form, PackedKVCache
from mlxwire_worker.mlx_engine.cache.trimming import cut_room, trim
from mlxwire_worker.mlx_engine.cache.verdict import Verdict
from worker.mlx_engine.conftest import Open

HEADS, WIDTH = 2, 64
FORM = Form(bits=4, group_size=32, read_packed=False)


def numbers(row: int, tokens: int, width: int = WIDTH) -> mx.array:
    """Return the keys or values [1, H, T, D] of one row; a longer row begins as a shorter one."""
    keys = mx.random.split(mx.random.key(row), 700)[:tokens]
    drawn = [mx.random.normal((1, HEADS, 1, width), key=key) for key in keys]
    return mx.concatenate(drawn, axis=2) if drawn else mx.zeros((1, HEADS, 0, width))


def rounded(array: mx.array, form: Form) -> mx.array:
    """Return numbers as quantization leaves them."""
    options: dict[str, int] = {"group_size": form.group_size, "bits": form.bits}
    packed: Any = mx.quantize(array, **options)
    return mx.dequantize(*packed, **options)


def filled(row: int, tokens: int) -> kv.Layers:
    """Return the caches of a row that holds so many tokens."""
    layers = [PackedKVCache(FORM)]
    if tokens:
        layers[0].update_and_fetch(numbers(row, tokens), -numbers(row, tokens))
    return layers


def step(batch: kv.Layers, held: dict[int, int]) -> None:
    """Append each row's next token, and compare all that the rows hold; ``held`` counts on."""
    new = mx.concatenate([numbers(row, n + 1)[:, :, n:] for row, n in held.items()])
    keys, values = batch[0].update_and_fetch(new, -new)
    for place, row in enumerate(held):
        held[row] += 1
        expected = rounded(numbers(row, held[row]), FORM)[0]
        assert mx.array_equal(keys[place][:, -held[row] :], expected)
        expected = rounded(-numbers(row, held[row]), FORM)[0]
        assert mx.array_equal(values[place][:, -held[row] :], expected)
    assert batch[0].offset.tolist() == list(held.values())


@pytest.mark.parametrize("width", [32, 96, 128, 256])
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_each_number_of_bits_fits_each_width(bits: int, width: int) -> None:
    form = Form(bits=bits, group_size=32, read_packed=False)
    cache = PackedKVCache(form)
    whole = numbers(1, 300, width)
    for start, end in ((0, 3), (3, 4), (4, 299), (299, 300)):
        keys, values = cache.update_and_fetch(
            whole[:, :, start:end], 2 * whole[:, :, start:end]
        )

    assert mx.array_equal(keys, rounded(whole, form))
    assert mx.array_equal(values, rounded(2 * whole, form))
    assert (cache.offset, cache.size()) == (300, 300)
    assert not hasattr(cache, "bits")


def test_rows_come_and_go_and_their_numbers_stay() -> None:
    held = {1: 5, 2: 270, 3: 0}
    batch = kv.merge([filled(row, tokens) for row, tokens in held.items()])
    for _ in range(3):
        step(batch, held)
    late = {4: 1, 5: 300}
    kv.extend(batch, kv.merge([filled(row, tokens) for row, tokens in late.items()]))
    held |= late
    step(batch, held)

    kv.keep_rows(batch, [0, 3, 4], [held[1], held[4], held[5]])
    held = {row: held[row] for row in (1, 4, 5)}
    step(batch, held)
    kv.keep_rows(batch, [0, 1], [held[1], held[4]])
    held.pop(5)
    assert batch[0].size() == max(held.values())
    step(batch, held)

    mx.eval(kv.paddings(batch))
    (single,) = kv.extract_row(batch, 1, held[4])
    assert single.offset == held[4]
    assert mx.array_equal(single.keys_and_values()[0], rounded(numbers(4, held[4]), FORM))


def test_padding_on_the_right_is_no_token() -> None:
    lengths = {1: 2, 2: 6, 3: 0}
    held = {1: 3, 2: 0, 3: 4}
    batch = kv.merge([filled(row, tokens) for row, tokens in held.items()])
    rows = [
        mx.concatenate(
            [
                numbers(row, held[row] + length)[:, :, held[row] :],
                mx.full((1, HEADS, 6 - length, WIDTH), 1e9),
            ],
            axis=2,
        )
        for row, length in lengths.items()
    ]
    with kv.right_padding(batch, list(lengths.values()), 6):
        new = mx.concatenate(rows)
        batch[0].update_and_fetch(new, -new)
    step(batch, {row: held[row] + lengths[row] for row in held})


def test_a_cut_leaves_the_first_tokens_and_frees_the_rest() -> None:
    layers = filled(1, 600)
    kept = kv.snapshot(layers)
    assert trim(layers, 600, 20)

    keys, _ = layers[0].update_and_fetch(numbers(2, 1), numbers(2, 1))

    assert mx.array_equal(keys[:, :, :20], rounded(numbers(1, 20), FORM))
    assert mx.array_equal(keys[:, :, 20:], rounded(numbers(2, 1), FORM))
    assert kv.nbytes(layers) < kv.nbytes(kept) / 2
    assert mx.array_equal(kept[0].keys_and_values()[0], rounded(numbers(1, 600), FORM))


def test_a_stored_beginning_borrows_all_parts_of_a_longer_sequence() -> None:
    longer, stored = filled(1, 600), filled(1, 20)
    alone = kv.nbytes(stored)
    lending.borrow(stored, longer)
    assert lending.shares(stored, longer)
    assert lending.state_bytes(stored) == 0

    reused = kv.snapshot(stored)
    cut_room(reused[0], 20)
    step(kv.merge([reused]), {1: 20})
    lending.take_back(stored)
    step(kv.merge([stored]), {1: 20})

    assert not lending.shares(stored, longer)
    assert kv.nbytes(reused) <= alone
    assert kv.nbytes(stored) <= alone


def test_a_batch_takes_the_bytes_of_the_quantized_numbers() -> None:
    lengths = [100, 300]
    batch = kv.merge([filled(row, tokens) for row, tokens in enumerate(lengths)])

    # Of each head 32 bytes of codes, and a scale and a bias of float32 for each of two groups.
    assert kv.nbytes(batch) == 2 * 300 * HEADS * 2 * (WIDTH // 2 + 2 * 2 * 4)


def test_without_kernels_for_it_attention_reads_dequantized_numbers(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> mx.array:
        raise RuntimeError("no kernel for this shape")

    options = {"kv_bits": 8, "kv_group_size": 32}
    asked: dict[str, Any] = {"max_tokens": 8, "ignore_eos": True}
    packed = open_model("tiny", **options)
    monkeypatch.setattr(packing, "quantized_attention", fails)
    dequantizing = open_model("tiny", **options)

    assert not packed.loaded.policy.dequantizes
    assert dequantizing.loaded.policy.dequantizes
    assert dequantizing.tokens("Hello", **asked) == packed.tokens("Hello", **asked)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_row_answers_in_a_batch_as_alone(open_model: Open, temperature: float) -> None:
    direct = open_model("tiny", kv_bits=8, kv_group_size=32)
    chats = ("What is 47 + 38?", "Tell me a story about a cat.", "Hi", "What is 2 and 3?")
    options: dict[str, Any] = {"max_tokens": 8, "temperature": temperature, "cache": False}
    prompts = [
        [
            direct.prepare_chat([{"role": "user", "content": text}], seed=seed, **options)
            for seed, text in enumerate(chats)
        ]
        for _ in range(2)
    ]
    alone = [direct.run([prompt])[0] for prompt in prompts[0]]

    together = direct.run(prompts[1])

    assert [answer.tokens for answer in together] == [answer.tokens for answer in alone]


def test_rows_of_a_batch_are_reused_after_a_save(open_model: Open, tmp_path: Path) -> None:
    options: dict[str, Any] = {"kv_bits": 4, "kv_group_size": 32}
    file = str(tmp_path / "cache.safetensors")
    asked: dict[str, Any] = {"max_tokens": 6, "ignore_eos": True}
    saving, loading = open_model("tiny", **options), open_model("tiny", **options)
    prompts = [saving.prepare(text, **asked) for text in ("The cat", "Once upon a time, a dog")]
    answers = saving.run(prompts)
    assert saving.engine.save_cache(file) == loading.engine.load_cache(file) == 2

    for prompt, answer in zip(prompts, answers, strict=True):
        longer = loading.prepare(prompt.ids + answer.tokens, **asked)
        (reused,) = loading.run([longer])
        assert len(longer.ids) - longer.cached_tokens <= 1
        fresh = saving.tokens(longer.ids, cache=False, **asked)
        assert reused.tokens == fresh

    with pytest.raises(WireError, match="KV setting"):
        open_model("tiny", kv_bits=8, kv_group_size=32).engine.load_cache(file)


def test_the_check_of_a_model_is_one_of_its_quantized_caches(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[tuple[type, str]] = []

    def check(_: Any, make: Callable[[], kv.Layers], *, key: str, **__: Any) -> Verdict:
        checked.append((type(make()[0]), key))
        return Verdict(together=True, padded=True, cut=True)

    monkeypatch.setattr(abilities, "check_model", check)
    for bits in (None, 8, 4):
        open_model("tiny", kv_bits=bits, kv_group_size=32)

    kinds, keys = zip(*checked, strict=True)
    assert kinds == (KVCache, PackedKVCache, PackedKVCache)
    assert len(set(keys)) == 3
