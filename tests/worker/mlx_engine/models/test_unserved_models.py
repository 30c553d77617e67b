"""A sound model that can't be served here is told from a broken folder, before a first request."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from factories.damage import edit_config
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.models.build_failures import explained
from mlxwire_worker.mlx_engine.models.preflight import check_model
from mlxwire_worker.mlx_engine.models.soundness import check_logits
from support.model_worker import Models


def refusal(models: Models, path: Path, model_type: str) -> WireError:
    shutil.copytree(models("qwen3"), path)
    edit_config(path, model_type=model_type)
    with pytest.raises(WireError) as raised:
        check_model(path)
    return raised.value


def test_a_module_that_ends_the_process_for_want_of_a_package_is_unsupported(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hf_olmo", None)
    error = refusal(models, tmp_path / "model", "olmo")

    assert (error.code, error.data["reason"]) == ("unsupported_model", "missing_package")


def test_a_module_that_lacks_a_package_is_not_an_unknown_architecture(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "mlx_lm.models.dbrx", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    error = refusal(models, tmp_path / "model", "dbrx")

    assert (error.code, error.data["reason"]) == ("unsupported_model", "missing_package")
    assert "numpy" in error.message


def add_tensor(path: Path, name: str) -> None:
    stored: Any = mx.load(str(path / "model.safetensors"))
    stored[name] = mx.zeros((2, 64))
    mx.save_safetensors(str(path / "model.safetensors"), stored)


@pytest.mark.parametrize(
    ("architecture", "tensor"),
    [
        ("Qwen3ForSequenceClassification", "score.weight"),
        ("Qwen3ForTokenClassification", "score.weight"),
        ("Qwen3ForRewardModel", "score.0.weight"),
        ("Qwen3ForQuestionAnswering", "qa_outputs.weight"),
    ],
)
def test_a_causal_model_with_another_head_is_refused_by_name(
    models: Models, tmp_path: Path, architecture: str, tensor: str
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    edit_config(path, architectures=[architecture])
    check_model(path)  # some write this of a model with its head for words
    add_tensor(path, tensor)

    with pytest.raises(WireError) as raised:
        check_model(path)

    assert raised.value.code == "unsupported_model"
    assert raised.value.data["reason"] == "classification_head"
    assert architecture in raised.value.message
    assert tensor in raised.value.message


@pytest.mark.parametrize("kind", ["modernbert", "nomic_bert", "deberta-v2", "albert"])
def test_an_encoder_that_is_not_computed_is_refused_with_those_that_are(
    models: Models, tmp_path: Path, kind: str
) -> None:
    error = refusal(models, tmp_path / "model", kind)

    assert (error.code, error.data["reason"]) == ("unsupported_model", "unknown_architecture")
    assert f"the worker's encoders know the architecture {kind!r}" in error.message
    assert "xlm-roberta, camembert" in error.message


def test_a_kernel_that_is_missed_only_when_it_runs_is_found_at_load() -> None:
    def model(*_: Any, **__: Any) -> mx.array:
        raise RuntimeError("[cuda_kernel] No CUDA back-end.")

    with pytest.raises(WireError) as raised:
        check_logits(model, [], 100, "new")

    assert raised.value.data["reason"] == "no_kernel"


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (NotImplementedError("tied experts"), "unsupported_model", "unsupported_setting"),
        (ValueError("Unsupported RoPE type x"), "unsupported_model", "unsupported_setting"),
        (ValueError("Unknown layer type: x"), "unsupported_model", "unsupported_setting"),
        (ValueError("currently requires a=true"), "unsupported_model", "unsupported_setting"),
        (
            ValueError("memory that it does not have"),
            "unsupported_model",
            "unsupported_setting",
        ),
        (ValueError("Unsupported modelopt quant_algo"), "unsupported_model", "quantization"),
        (TypeError("unsupported operand type(s)"), "model_load_failed", "invalid_config"),
        (ValueError("[rope] unsupported type"), "model_load_failed", "invalid_config"),
        (KeyError("unsupported"), "model_load_failed", "invalid_config"),
    ],
    ids=str,
)
def test_what_a_module_raises_tells_who_is_at_fault(
    error: Exception, code: str, reason: str
) -> None:
    told = explained(error, "modules", "new")

    assert (told.code, told.data["reason"]) == (code, reason)
