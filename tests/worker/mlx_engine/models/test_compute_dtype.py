"""A model computes in the dtype that `load` asked for, and `auto` takes the fastest that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from factories import FAMILIES, build_adapter, build_model
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.mlx_patches.blas import in_use
from mlxwire_worker.mlx_engine.models import compute_dtype
from mlxwire_worker.mlx_engine.models.context_length import SEQUENCE_TOKENS
from mlxwire_worker.process.system_share import MODEL_SHARE
from support.direct import Direct
from support.model_worker import Models, ModelWorker
from support.reference import reference
from zoo.builder import build

from ..conftest import Open

RAW = "The weather in Zürich, 你好, is"
fast_blas = pytest.mark.skipif(
    mx.default_device() != mx.cpu or bool(in_use().slow), reason="computes as stored here"
)

on_a_cpu = pytest.mark.skipif(
    mx.default_device() != mx.cpu, reason="a GPU computes experts in each dtype"
)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a model with weights in bfloat16."""
    return build_model("llama3", tmp_path_factory.mktemp("bf16"), dtype="bfloat16")


def floats(direct: Direct) -> set[str]:
    """Return the dtypes of a model's weights, packed ones aside."""
    flat: Any = tree_flatten(direct.loaded.model.parameters())
    return {str(array.dtype) for _, array in flat if mx.issubdtype(array.dtype, mx.floating)}


@pytest.mark.parametrize("family", FAMILIES)
def test_quantized_weights_that_stay_as_stored_give_mlx_lms_text(
    worker: ModelWorker, models: Models, family: str
) -> None:
    path = models(family, True)

    answer = worker.use(path, compute_dtype="stored").generate(RAW, max_tokens=48)

    assert answer == reference(path, stored=True).generate(RAW, 48)


def test_bfloat16_weights_that_stay_as_stored_give_mlx_lms_text(
    worker: ModelWorker, narrow: Path
) -> None:
    answer = worker.use(narrow, compute_dtype="stored").generate(RAW, max_tokens=48)

    assert answer == reference(narrow, stored=True).generate(RAW, 48)
    assert worker.ask("info")["compute_dtype"] == "bfloat16"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("quantized", [False, True])
def test_the_dtype_that_was_asked_for_is_computed_in(
    open_model: Open, dtype: str, quantized: bool
) -> None:
    direct = open_model("qwen3", quantized=quantized, compute_dtype=dtype)

    assert direct.info.compute_dtype == dtype
    assert floats(direct) == {f"mlx.core.{dtype}"}
    assert (direct.info.quant_bits, direct.info.quant_group) == (
        (4, 32) if quantized else (0, 0)
    )
    assert direct.info.weight_bytes == direct.info.parameters * (4 if dtype == "float32" else 2)
    assert len(direct.tokens("Hello", max_tokens=5, ignore_eos=True)) == 5


def test_stored_weights_stay_packed(open_model: Open) -> None:
    direct = open_model("qwen3", quantized=True, compute_dtype="stored")

    assert direct.info.quant_bits == 4
    assert direct.info.weight_bytes < direct.info.parameters


@fast_blas
def test_auto_is_float32_on_a_processor_with_a_fast_blas(open_model: Open) -> None:
    direct = open_model("qwen3", quantized=True)

    assert direct.info.compute_dtype == "float32"
    assert direct.info.weight_bytes == direct.info.parameters * 4
    assert direct.info.blas is not None
    assert direct.info.blas_threads >= 1


def test_auto_is_as_stored_without_a_fast_blas(
    narrow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_dtype, "in_use", lambda: in_use()._replace(slow="it is slow"))
    direct = Direct(narrow)

    assert direct.info.compute_dtype == "bfloat16"
    direct.close()


def test_auto_is_as_stored_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute_dtype.mx, "default_device", lambda: mx.gpu)

    assert compute_dtype.wanted_dtype("auto") is None
    assert compute_dtype.wanted_dtype("float32") == mx.float32


@fast_blas
def test_auto_takes_at_most_four_fifths_of_the_memory(
    narrow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expanded = Direct(narrow, compute_dtype="float32")
    tokens = min(expanded.info.context_len, SEQUENCE_TOKENS)
    needed = expanded.info.weight_bytes + expanded.loaded.guard.sequence_bytes(tokens)
    expanded.close()
    least = int(needed / MODEL_SHARE) + 1

    for given, dtype in ((least, "float32"), (least - 8, "bfloat16")):
        for limit, machine in ((given, 1 << 40), (None, given)):
            monkeypatch.setattr(compute_dtype, "memory_bytes", lambda m=machine: m)
            monkeypatch.setattr(compute_dtype.mx, "get_active_memory", lambda: 0)
            direct = Direct(narrow, memory_limit=limit)
            assert direct.info.compute_dtype == dtype, (given, limit)
            direct.close()


@fast_blas
def test_a_dtype_that_was_asked_for_is_taken_whatever_the_memory(
    narrow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_dtype, "memory_bytes", lambda: 1)
    direct = Direct(narrow, compute_dtype="float32")

    assert direct.info.compute_dtype == "float32"
    direct.close()


@pytest.fixture(scope="module")
def narrow_experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a mixture of experts in bfloat16, which MLX's matrix product of them takes on no CPU."""
    folder = build("qwen3_moe", tmp_path_factory.mktemp("experts"))
    file = str(folder / "model.safetensors")
    weights: Any = mx.load(file)
    narrowed = {name: array.astype(mx.bfloat16) for name, array in weights.items()}
    mx.eval(narrowed)
    mx.save_safetensors(file, narrowed, metadata={"format": "mlx"})
    return folder


@on_a_cpu
def test_auto_takes_no_dtype_that_mlx_cant_compute(
    narrow_experts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_dtype, "in_use", lambda: in_use()._replace(slow="it is slow"))
    for machine in (1 << 40, 1):
        monkeypatch.setattr(compute_dtype, "memory_bytes", lambda m=machine: m)
        direct = Direct(narrow_experts)
        assert direct.info.compute_dtype == "float32"
        direct.close()


@on_a_cpu
def test_a_dtype_that_mlx_cant_compute_is_refused_with_the_one_that_it_can(
    narrow_experts: Path,
) -> None:
    with pytest.raises(WireError) as refused:
        Direct(narrow_experts, compute_dtype="bfloat16")

    assert refused.value.data["reason"] == "compute_dtype"
    assert "`compute_dtype` float32" in refused.value.message


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_an_adapter_a_quantized_cache_and_classify_work_in_every_dtype(
    worker: ModelWorker, models: Models, tmp_path: Path, dtype: str
) -> None:
    path = models("qwen3", True)
    adapter = build_adapter(path, tmp_path)
    plain = worker.use(path, compute_dtype=dtype).generate(RAW, max_tokens=24)
    worker.load(
        str(path), compute_dtype=dtype, adapter_path=str(adapter), kv_bits=8, kv_group_size=32
    )
    worker._loaded = ()

    info = worker.ask("info")
    adapted = worker.generate(RAW, max_tokens=24)
    asked = worker.send("classify", prompts=["Hello"], labels=["a", "b"])
    worker.final(asked)
    (item,) = [m for m in worker.messages[asked] if m["type"] == "item"]

    assert (info["compute_dtype"], info["capabilities"]["kv_bits"]) == (dtype, 8)
    assert adapted != plain
    assert sum(item["labels"].values()) == pytest.approx(1, abs=1e-3)


def test_a_prompt_cache_of_another_dtype_is_refused(narrow: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "cache")
    saving = Direct(narrow, compute_dtype="bfloat16")
    saving.tokens("Hello there", max_tokens=3)
    assert saving.engine.save_cache(file) > 0
    saving.close()
    other = Direct(narrow, compute_dtype="float16")

    with pytest.raises(WireError) as refused:
        other.engine.load_cache(file)

    assert refused.value.data["reason"] == "fingerprint"
    other.close()


def test_a_dtype_that_is_none_is_refused_by_name(worker: ModelWorker, models: Models) -> None:
    error = worker.refusal("load", path=str(models("qwen3")), compute_dtype="int8")

    assert (error["code"], error["data"]["field"]) == ("invalid_params", "compute_dtype")
