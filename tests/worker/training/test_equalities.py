"""Trainings that must end alike: resumed, accumulated, recomputed, in fewer bits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

from mlxwire_protocol import WireError
from mlxwire_worker.training.gradient_checkpointing import Seeds, checkpointed
from mlxwire_worker.training.loss import batch_loss
from support.training import Run, cancel_at, train, write_rows

Models = Callable[..., Path]


def assert_equal(one: Run, other: Run, *, within: float = 0.0) -> None:
    mine, theirs = one.tensors(), other.tensors()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        difference = mx.abs(array - theirs[name]).max().item()
        assert difference <= within, name


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamw", "dropout": 0.1},
        {"optimizer": "sgd", "method": "dora"},
        {"optimizer": "adafactor"},
        {"optimizer": "lion", "dtype": "bfloat16"},
        {"optimizer": "muon", "gradient_accumulation": 2},
        {"method": "full", "layers": 1},
        {"schedule": "cosine", "warmup": 2},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_a_resumed_training_equals_one_that_never_stopped(
    models: Models, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = models("llama3")
    same: dict[str, Any] = {
        "iterations": 8,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "seed": 5,
        **options,
    }
    whole = train(path, tmp_path / "whole", **same)

    first = train(path, tmp_path / "halves", **same, on_progress=cancel_at(4))
    second = train(path, tmp_path / "halves", **same, resume=True)

    assert first.last == {
        "event": "cancelled",
        "checkpoint": str(tmp_path / "halves/checkpoints/4"),
        "step": 4,
    }
    assert [*first.losses, *second.losses] == whole.losses
    assert second.last["first_loss"] == whole.last["first_loss"]
    assert second.last["tokens"] == whole.last["tokens"]
    assert_equal(second, whole)


def test_a_training_goes_on_past_its_end_with_more_iterations(
    models: Models, tmp_path: Path
) -> None:
    path = models("llama3")
    whole = train(path, tmp_path / "whole", iterations=6, learning_rate=1e-3)

    train(path, tmp_path / "out", iterations=3, learning_rate=1e-3)
    second = train(path, tmp_path / "out", iterations=6, learning_rate=1e-3, resume=True)

    assert second.steps[0]["step"] == 4
    assert_equal(second, whole)


def test_a_training_that_has_ended_resumes_to_the_same_result(
    models: Models, tmp_path: Path
) -> None:
    first = train(models("llama3"), tmp_path / "out", iterations=2)

    again = train(models("llama3"), tmp_path / "out", iterations=2, resume=True)

    assert again.last["last_loss"] == first.last["last_loss"]
    assert not again.steps


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"rank": 4}, "rank"),
        ({"learning_rate": 1e-3}, "learning_rate"),
        ({"seed": 1}, "seed"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"batch_size": 2}, "batch_size"),
        ({"weight_decay": 0.5}, "weight_decay"),
        ({"iterations": 1}, "iterations"),
        ({"data": "other"}, "data"),
    ],
)
def test_a_resumed_training_may_not_change_what_its_result_depends_on(
    models: Models, tmp_path: Path, changed: dict[str, Any], field: str
) -> None:
    train(models("llama3"), tmp_path / "out", iterations=2)
    options: dict[str, Any] = {"iterations": 2, **changed}
    if "data" in options:
        options["data"] = write_rows(tmp_path / "other.jsonl", [{"text": "One two."}] * 4)

    with pytest.raises(WireError) as error:
        train(models("llama3"), tmp_path / "out", resume=True, **options)

    assert error.value.code == "invalid_params"
    assert error.value.data["field"] == field


def test_a_training_without_a_checkpoint_can_not_be_resumed(
    models: Models, tmp_path: Path
) -> None:
    with pytest.raises(WireError, match="no checkpoint") as error:
        train(models("llama3"), tmp_path / "out", resume=True)

    assert error.value.data["field"] == "resume"


def test_a_new_training_forgets_the_checkpoints_of_the_one_before(
    models: Models, tmp_path: Path
) -> None:
    train(models("llama3"), tmp_path / "out", iterations=4)

    train(models("llama3"), tmp_path / "out", iterations=2, rank=4)

    assert [path.name for path in (tmp_path / "out/checkpoints").iterdir()] == ["2"]


@pytest.mark.parametrize("masked", [False, True])
def test_two_batches_of_four_equal_one_of_eight(
    models: Models, tmp_path: Path, masked: bool
) -> None:
    same: dict[str, Any] = {
        "iterations": 4,
        "learning_rate": 1e-3,  # larger steps amplify what matrix kernels of a processor round
        "optimizer": "sgd",
        "mask_prompt": masked,
    }
    rows = [
        {"prompt": "Count. " * number, "completion": "one " * (9 - number)}
        for number in range(1, 9)
    ]
    data = write_rows(tmp_path / "uneven.jsonl", rows)
    one = train(models("llama3"), tmp_path / "one", data, batch_size=8, **same)

    two = train(
        models("llama3"),
        tmp_path / "two",
        data,
        batch_size=4,
        gradient_accumulation=2,
        **same,
    )

    assert two.losses == pytest.approx(one.losses, rel=1e-5)
    assert_equal(one, two, within=1e-6)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama3", {"dropout": 0.2}),
        ("qwen3", {"method": "dora"}),
        ("gemma3", {"mask_prompt": True}),
        ("llama3", {"method": "full"}),
    ],
)
def test_recomputed_layers_give_the_same_training(
    models: Models, tmp_path: Path, family: str, options: dict[str, Any]
) -> None:
    same: dict[str, Any] = {
        "iterations": 3,
        "learning_rate": 1e-2,
        "optimizer": "sgd",
        **options,
    }
    plain = train(models(family), tmp_path / "plain", **same)

    recomputed = train(models(family), tmp_path / "less", gradient_checkpointing=True, **same)

    assert recomputed.losses == pytest.approx(plain.losses, rel=1e-6)
    assert_equal(recomputed, plain, within=1e-6)


def test_recomputed_layers_give_the_same_gradients_and_take_less_memory(
    models: Models,
) -> None:
    model, _ = load_model(models("llama3"))
    model.train()
    kinds = [type(layer) for layer in model.layers]
    ids = mx.array([[each % 90 for each in range(512)]] * 4)
    spans = mx.array([[1, 511]] * 4)
    gradients_of = nn.value_and_grad(
        model, lambda: batch_loss(model, ids, spans, mx.array(2044.0))
    )

    def measured(*, recompute: bool) -> tuple[dict[str, mx.array], int]:
        with checkpointed(model.layers, Seeds(), recompute=recompute):
            mx.clear_cache()
            mx.reset_peak_memory()
            _, tree = gradients_of()
            flat: Any = tree_flatten(tree)
            gradients = dict(flat)
            mx.eval(gradients)
            return gradients, mx.get_peak_memory()

    plain, most = measured(recompute=False)
    recomputed, less = measured(recompute=True)

    assert less < most
    for name, gradient in plain.items():
        assert mx.allclose(gradient, recomputed[name], rtol=1e-5, atol=1e-7).item(), name
    assert [type(layer) for layer in model.layers] == kinds
    assert all("__call__" in vars(kind) for kind in kinds)


def test_a_recomputed_layer_keeps_its_class_for_all_other_models(models: Models) -> None:
    one, _ = load_model(models("llama3"), lazy=True)
    other, _ = load_model(models("llama3"), lazy=True)
    kind, method = type(one.layers[0]), type(one.layers[0]).__call__

    block = checkpointed(one.layers, Seeds(), recompute=True)
    with contextlib.suppress(RuntimeError), block:
        assert type(one.layers[0]) is not kind
        assert isinstance(one.layers[0], kind)
        assert type(other.layers[0]) is kind
        raise RuntimeError

    assert type(one.layers[0]) is kind
    assert kind.__call__ is method


@pytest.mark.parametrize("compute_dtype", ["float32", "stored"])  # ours is stored in bfloat16
def test_an_adapter_in_bfloat16_reaches_the_loss_of_float32(
    models: Models, tmp_path: Path, compute_dtype: str
) -> None:
    same: dict[str, Any] = {
        "iterations": 30,
        "learning_rate": 3e-4,
        "batch_size": 8,
        "compute_dtype": compute_dtype,
    }
    full = train(models("tiny"), tmp_path / "full", **same)

    half = train(models("tiny"), tmp_path / "half", dtype="bfloat16", **same)

    assert {array.dtype for array in half.tensors().values()} == {mx.bfloat16}
    assert half.last["last_loss"] == pytest.approx(full.last["last_loss"], rel=0.02)
    assert full.last["last_loss"] < full.last["first_loss"] / 2


@pytest.mark.parametrize("compute_dtype", ["float32", "stored"])
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_the_adapter_of_a_quantized_model_is_trained(
    models: Models, tmp_path: Path, method: str, compute_dtype: str
) -> None:
    run = train(
        models("llama3", quantized=True),
        tmp_path / "out",
        iterations=5,
        learning_rate=1e-2,
        method=method,
        compute_dtype=compute_dtype,
    )

    assert run.last["last_loss"] < run.last["first_loss"]
    assert run.tensors()["model.layers.0.self_attn.q_proj.lora_a"].shape == (64, 8)
