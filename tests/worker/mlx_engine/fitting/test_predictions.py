"""`fit` predicts the peak that MLX measures, for sequences that reach the end of their contexts."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxwire_worker.folders import Fit, FitOptions
from mlxwire_worker.mlx_engine.fitting.predicting import FitTask, predict
from mlxwire_worker.mlx_engine.sequences.prefill import ChunkSize
from support.direct import Direct
from zoo import builder
from zoo.configurations import CONFIGURATIONS

NEW_TOKENS = 8
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6}
HEADS = {"num_attention_heads": 8, "num_key_value_heads": 4}


def build(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Path:
    """Write an animal of the zoo that is large enough for its caches to matter."""
    wide = {**CONFIGURATIONS[name], "max_position_embeddings": 4096, **settings}
    monkeypatch.setitem(CONFIGURATIONS, name, wide)
    return builder.build(name, folder)


def predicted(folder: Path, **options: Any) -> Fit:
    return predict(FitTask(options=FitOptions(path=str(folder), **options)))


def measured(
    folder: Path, *, context_len: int, parallel_slots: int, tokens: int = 64, **load: Any
) -> int:
    """Return MLX's peak over a load, and over sequences that fill their contexts.

    ``tokens``: the size of a slice that the worker has learned, as on a machine of some speed.
    """
    gc.collect()
    before = mx.get_active_memory()  # models of other tests in this process
    mx.reset_peak_memory()
    direct = Direct(folder, context_len=context_len, parallel_slots=parallel_slots, **load)
    chunk = direct.loaded.chunk
    chunk.tokens, chunk.learn = tokens, lambda *_: None  # type: ignore[method-assign]
    prompts = [
        direct.prepare(
            [(place * 7 + token) % 600 + 9 for token in range(context_len - NEW_TOKENS)],
            max_tokens=NEW_TOKENS,
            ignore_eos=True,
        )
        for place in range(parallel_slots)
    ]
    direct.run(prompts)
    peak = mx.get_peak_memory() - before
    direct.close()
    return peak


@pytest.mark.skipif(mx.default_device() != mx.cpu, reason="small slices are a CPU's")
@pytest.mark.parametrize(
    ("name", "settings", "options"),
    [
        pytest.param("llama", {**WIDE, **HEADS}, {"context_len": 2048}, id="grouped heads"),
        pytest.param("llama", {**WIDE, **HEADS}, {"parallel_slots": 4}, id="four slots"),
        pytest.param("gemma3_text", WIDE, {"parallel_slots": 2}, id="windows"),
        pytest.param(
            "deepseek_v3",
            {"hidden_size": 256, "num_hidden_layers": 6},
            {"parallel_slots": 2},
            id="latent",
        ),
        pytest.param(
            "qwen3_next",
            {"hidden_size": 256, "num_hidden_layers": 4},
            {"parallel_slots": 2},
            id="recurrent",
        ),
    ],
)
def test_the_peak_is_predicted_within_a_tenth(
    name: str,
    settings: dict[str, Any],
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = build(name, tmp_path, monkeypatch, **settings)
    options = {"context_len": 1024, "parallel_slots": 1, **options}

    fit = predicted(folder, **options)

    peak = measured(folder, **options)
    assert 0.9 <= fit.total_bytes / peak <= 1.1, (fit, peak)
    assert fit.total_bytes == fit.weight_bytes + fit.cache_bytes + fit.scratch_bytes


@pytest.mark.skipif(mx.default_device() != mx.cpu, reason="small slices are a CPU's")
@pytest.mark.parametrize(
    ("name", "settings", "slots", "context"),
    [
        ("llama", {**WIDE, **HEADS}, 1, 1024),
        ("llama", {**WIDE, **HEADS}, 8, 256),
        ("gpt_oss", {"hidden_size": 512, "num_hidden_layers": 6}, 1, 1024),
    ],
)
def test_a_machine_that_has_learned_large_slices_keeps_to_the_prediction(
    name: str,
    settings: dict[str, Any],
    slots: int,
    context: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = build(name, tmp_path, monkeypatch, **settings)
    options = {"context_len": context, "parallel_slots": slots}

    peak = measured(folder, tokens=ChunkSize.LARGEST, **options)

    assert 0.9 <= predicted(folder, **options).total_bytes / peak <= 1.1


@pytest.mark.parametrize(
    "name", ["falcon_h1", "deepseek_v32", "llama", "llama4_text", "mamba2"]
)
def test_the_bytes_of_a_sequence_are_those_that_it_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = Direct(build(name, tmp_path, monkeypatch))
    sizes = direct.loaded.guard.sizes
    direct.add(
        direct.prepare([9 + place % 600 for place in range(601)], max_tokens=2, ignore_eos=True)
    )
    direct.until(lambda: direct.runner.decoding)

    held = direct.runner.nbytes
    direct.close()
    assert sizes.nbytes(601) <= held <= sizes.sequence_bytes(602)


def test_each_architecture_that_can_be_recorded_has_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = predicted(build("dbrx", tmp_path, monkeypatch), context_len=512)

    assert short.scratch_bytes > 0  # MLX can't record it: the weights' shapes tell


def test_quantized_caches_are_counted_in_their_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build("llama", tmp_path, monkeypatch, **WIDE, **HEADS)

    plain = predicted(folder, compute_dtype="float32")
    packed = predicted(folder, compute_dtype="float32", kv_bits=8, kv_group_size=32)

    assert (packed.kv_bits, plain.kv_bits) == (8, 0)
    assert packed.bytes_per_token * 32 == plain.bytes_per_token * (8 + 2)
    assert packed.cache_bytes * 32 == plain.cache_bytes * (8 + 2)


def test_the_dtype_decides_the_bytes_of_weights_and_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build("llama", tmp_path, monkeypatch)

    wide, narrow = (predicted(folder, compute_dtype=each) for each in ("float32", "bfloat16"))

    assert (wide.compute_dtype, narrow.compute_dtype) == ("float32", "bfloat16")
    assert wide.weight_bytes == 2 * narrow.weight_bytes
    assert wide.bytes_per_token == 2 * narrow.bytes_per_token


def test_the_longest_context_is_the_longest_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build("llama", tmp_path, monkeypatch, **WIDE, **HEADS)
    limit = predicted(folder, context_len=1024, parallel_slots=2).total_bytes

    exact = predicted(folder, parallel_slots=2, memory_limit=limit)
    longest = predicted(folder, context_len="auto", parallel_slots=2, memory_limit=limit)
    less = predicted(folder, context_len="auto", parallel_slots=2, memory_limit=limit - 1)
    none = predicted(folder, context_len="auto", memory_limit=1)

    assert (exact.max_context_len, exact.context_len, exact.fits) == (1024, 4096, False)
    assert (longest.context_len, longest.fits, longest.available_bytes) == (1024, True, limit)
    assert (less.context_len, less.fits) == (768, True)
    assert (none.context_len, none.max_context_len, none.fits) == (256, 0, False)
