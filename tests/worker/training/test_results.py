"""The folder that a training writes is read by mlx-lm, by PEFT's names, and by nobody while it is cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx_lm.models.switch_layers import SwitchLinear
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.adapters.applying import apply_adapter, check_adapter
from mlxwire_worker.training.adapting import choose_trained
from mlxwire_worker.training.spec import TrainOptions
from support.training import train, write_rows
from zoo.builder import build

Models = Callable[..., Path]
IDS = [[1, 5, 9, 20, 3]]


def logits(model: Any) -> mx.array:
    model.eval()
    array = model(mx.array(IDS)).astype(mx.float32)
    mx.eval(array)
    return array


def with_adapter(path: Path, folder: Path) -> Any:
    """Load a model with an adapter as the worker does."""
    model, _ = load_model(path)
    check_adapter(folder)
    apply_adapter(model, folder)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "dora"},
        {"method": "full", "layers": 2},
        {"keys": ["q_proj", "mlp.down_proj"], "layers": 1},
        {"keys": ["self_attn.v_proj", "embed_tokens"]},
        {"dtype": "bfloat16"},
    ],
    ids=lambda options: "-".join(map(str, options)) or "lora",
)
def test_mlx_lm_and_the_worker_read_the_result(
    models: Models, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = models("llama3")
    run = train(path, tmp_path / "out", iterations=3, learning_rate=1e-2, **options)
    base, _ = load_model(path)
    before = logits(base)

    theirs = load_adapters(load_model(path)[0], str(run.out))

    assert not mx.allclose(logits(theirs), before, atol=1e-2).item()
    assert mx.array_equal(logits(theirs), logits(with_adapter(path, run.out))).item()


def test_keys_choose_the_modules_that_are_adapted(models: Models, tmp_path: Path) -> None:
    run = train(models("llama3"), tmp_path / "out", iterations=1, keys=["q_proj"], layers=2)

    config = json.loads((run.out / "adapter_config.json").read_text("utf-8"))
    assert config["num_layers"] == 2
    assert config["lora_parameters"]["keys"] == ["self_attn.q_proj"]
    assert sorted(run.tensors()) == [
        f"model.layers.{layer}.self_attn.q_proj.lora_{half}"
        for layer in (1, 2)
        for half in "ab"
    ]


@pytest.mark.parametrize(
    ("options", "field", "told"),
    [
        ({"keys": ["nonsense"]}, "keys", "self_attn.q_proj"),
        ({"keys": []}, "keys", "empty"),
        ({"keys": ["embed_tokens"], "method": "dora"}, "keys", "embed_tokens"),
        ({"layers": 99}, "layers", "at most 3"),
        ({"iterations": 2, "epochs": 2}, "epochs", "leave one of them out"),
        ({"method": "full", "format": "peft"}, "format", "full"),
        ({"method": "full", "load_as": "x"}, "load_as", "full"),
        ({"method": "full", "keys": ["q_proj"]}, "keys", "full"),
        ({"method": "full", "rank": 4}, "rank", "full"),
        ({"method": "full", "scale": 2.0}, "scale", "full"),
        ({"method": "magic"}, "method", "magic"),
        ({"rank": 0}, "rank", "1"),
        ({"batch_size": "many"}, "batch_size", "int"),
    ],
)
def test_options_that_can_not_be_honoured_are_refused_by_name(
    models: Models, tmp_path: Path, options: dict[str, Any], field: str, told: str
) -> None:
    with pytest.raises(WireError) as error:
        train(models("llama3"), tmp_path / "out", **options)

    assert error.value.code == "invalid_params"
    assert error.value.data["field"] == field
    assert told in error.value.message


def test_all_weights_of_a_quantized_model_can_not_be_trained(
    models: Models, tmp_path: Path
) -> None:
    with pytest.raises(WireError, match="quantized") as error:
        train(
            models("llama3", quantized=True),
            tmp_path / "out",
            method="full",
            compute_dtype="stored",
        )

    assert error.value.data["field"] == "method"


def test_all_weights_of_an_expanded_quantized_model_can_not_be_trained(
    models: Models, tmp_path: Path
) -> None:
    with pytest.raises(WireError, match="quantized"):
        train(models("llama3", quantized=True), tmp_path / "out", method="full")


def test_an_out_that_is_a_file_is_refused(models: Models, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")

    with pytest.raises(WireError) as error:
        train(models("llama3"), tmp_path / "out")

    assert error.value.data["field"] == "out"
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_a_result_in_pefts_format_has_its_names_and_shapes(
    models: Models, tmp_path: Path, method: str
) -> None:
    same: dict[str, Any] = {"iterations": 2, "learning_rate": 1e-2, "method": method, "rank": 4}
    mlx = train(models("llama3"), tmp_path / "mlx", **same)

    peft = train(models("llama3"), tmp_path / "peft", format="peft", **same)

    config = json.loads((peft.out / "adapter_config.json").read_text("utf-8"))
    with_mlx, with_peft = (
        logits(with_adapter(models("llama3"), each.out)) for each in (mlx, peft)
    )
    assert mx.array_equal(with_mlx, with_peft).item()
    assert config["peft_type"] == "LORA"
    assert config["r"] == 4
    assert config["lora_alpha"] == 80.0
    assert config["use_dora"] is (method == "dora")
    assert config["target_modules"] == sorted(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    loaded = mx.load(str(peft.out / "adapter_model.safetensors"))
    assert isinstance(loaded, dict)
    module = "model.layers.0.self_attn.q_proj"
    start = f"base_model.model.{module}"
    own = mlx.tensors()
    assert len(loaded) == len(own)
    assert mx.array_equal(loaded[f"{start}.lora_A.weight"], own[f"{module}.lora_a"].T).item()
    assert mx.array_equal(loaded[f"{start}.lora_B.weight"], own[f"{module}.lora_b"].T).item()
    if method == "dora":
        assert mx.array_equal(
            loaded[f"{start}.lora_magnitude_vector"], own[f"{module}.m"]
        ).item()


def test_a_result_of_some_layers_names_each_module_for_peft(
    models: Models, tmp_path: Path
) -> None:
    run = train(
        models("llama3"),
        tmp_path / "out",
        iterations=1,
        keys=["q_proj"],
        layers=1,
        format="peft",
    )

    config = json.loads((run.out / "adapter_config.json").read_text("utf-8"))
    assert config["target_modules"] == ["model.layers.2.self_attn.q_proj"]


def test_a_module_that_peft_has_no_layer_for_is_refused(models: Models, tmp_path: Path) -> None:
    with pytest.raises(WireError, match="embed_tokens") as error:
        train(models("llama3"), tmp_path / "out", keys=["embed_tokens"], format="peft")

    assert error.value.data["field"] == "format"


def test_another_format_leaves_no_weights_of_the_one_before(
    models: Models, tmp_path: Path
) -> None:
    train(models("llama3"), tmp_path / "out", iterations=1, format="peft")

    run = train(models("llama3"), tmp_path / "out", iterations=1)

    assert sorted(path.name for path in run.out.iterdir()) == [
        "adapter_config.json",
        "adapters.safetensors",
        "checkpoints",
    ]


def test_the_last_two_checkpoints_stay(models: Models, tmp_path: Path) -> None:
    run = train(models("llama3"), tmp_path / "out", iterations=5, save_every=1)

    folders = sorted(path.name for path in (run.out / "checkpoints").iterdir())
    assert folders == ["4", "5"]
    for folder in folders:
        names = {path.name for path in (run.out / "checkpoints" / folder).iterdir()}
        assert {"adapter_config.json", "adapters.safetensors", "state.json"} < names


def test_epochs_give_the_number_of_steps(models: Models, tmp_path: Path) -> None:
    run = train(models("llama3"), tmp_path / "out", epochs=1.5, batch_size=2)

    assert run.last["steps"] == 6


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, 0.8535534, 0.5, 0.1464466]),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    models: Models, tmp_path: Path, schedule: str, wanted: list[float]
) -> None:
    run = train(
        models("llama3"),
        tmp_path / "out",
        iterations=6,
        learning_rate=1.0,
        optimizer="sgd",
        gradient_clip=1e-6,
        schedule=schedule,
        warmup=2,
    )

    assert [step["learning_rate"] for step in run.steps] == pytest.approx(wanted)


@pytest.mark.parametrize(
    "kept",
    [
        {"optimizer": "sgd", "learning_rate": 1e-7},
        {"optimizer": "adafactor", "learning_rate": 1e-7},
        {"optimizer": "sgd", "learning_rate": 1e-1, "gradient_clip": 1e-7},
    ],
)
def test_a_small_rate_or_a_low_clip_changes_little(
    models: Models, tmp_path: Path, kept: dict[str, Any]
) -> None:
    same: dict[str, Any] = {"iterations": 3, "batch_size": 8}
    moved = train(
        models("llama3"),
        tmp_path / "far",
        optimizer=kept["optimizer"],
        learning_rate=0.1,
        **same,
    )

    run = train(models("llama3"), tmp_path / "out", **same, **kept)

    assert run.losses[2] == pytest.approx(run.losses[0], rel=1e-4)
    assert moved.losses[2] != pytest.approx(run.losses[0], rel=1e-2)


def test_dora_for_experts_is_refused_by_name() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = SwitchLinear(8, 8, 2)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [Layer()]

        def __call__(self, ids: mx.array) -> mx.array:
            return ids

    with pytest.raises(WireError, match="SwitchLinear") as error:
        choose_trained(Model(), TrainOptions(data="d", out="o", method="dora"))

    assert error.value.data["field"] == "method"
    assert choose_trained(Model(), TrainOptions(data="d", out="o")).modules == [
        "layers.0.experts"
    ]


@pytest.mark.parametrize("animal", ["recurrent_gemma", "mamba", "qwen3_next"])
def test_recurrent_models_are_trained(tmp_path: Path, animal: str) -> None:
    path = build(animal, tmp_path / "model")
    data = write_rows(tmp_path / "rows.jsonl", [{"text": "One two three."}] * 4)

    run = train(path, tmp_path / "out", data, iterations=3, learning_rate=1e-3)

    assert run.last["last_loss"] < run.last["first_loss"]
    with_adapter(path, run.out)


@pytest.mark.parametrize(
    ("animal", "told"),
    [("afm7", "several layers in one"), ("gemma3n", "`q_proj` and `v_proj`")],
)
def test_modules_that_can_not_be_adapted_are_refused_by_name(
    tmp_path: Path, animal: str, told: str
) -> None:
    path = build(animal, tmp_path / "model")
    data = write_rows(tmp_path / "rows.jsonl", [{"text": "One two three."}] * 4)

    with pytest.raises(WireError, match=told) as error:
        train(path, tmp_path / "out", data, iterations=1)

    assert error.value.data["field"] == "keys"
    run = train(path, tmp_path / "out", data, iterations=1, keys=["down_proj"])
    with_adapter(path, run.out)
