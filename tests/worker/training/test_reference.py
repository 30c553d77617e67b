"""A training takes the steps of mlx-lm's own trainer."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import optimizers
from mlx_lm.tuner.datasets import CacheDataset, ChatDataset, CompletionsDataset, TextDataset
from mlx_lm.tuner.trainer import TrainingArgs
from mlx_lm.tuner.trainer import train as mlx_lm_train
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load

from support.training import CAPITALS, ROWS, train, write_rows

STEPS = 6
CLASSES: dict[str, Any] = {"adamw": optimizers.AdamW, "sgd": optimizers.SGD}
COMPLETIONS = [
    {"prompt": f"What is the capital of {country}?", "completion": capital}
    for country, capital in CAPITALS.items()
]
TEXTS = [{"text": f"The capital of {country} is {name}."} for country, name in CAPITALS.items()]


class Losses:
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.validation: list[float] = []

    def on_train_loss_report(self, told: dict[str, float]) -> None:
        self.losses.append(told["train_loss"])

    def on_val_loss_report(self, told: dict[str, float]) -> None:
        self.validation.append(told["val_loss"])


def theirs(
    path: Path,
    dataset: Callable[[Any], Any],
    *,
    rate: float,
    method: str = "lora",
    optimizer: str = "adamw",
    validation: Any = None,
) -> Losses:
    """Train with mlx-lm, as `mlx_lm.lora` does, and return the loss of each step."""
    seen = Losses()
    model, tokenizer = load(str(path))[:2]
    mx.random.seed(3)
    np.random.seed(3)
    model.freeze()
    config = {"rank": 4, "scale": 10.0, "dropout": 0.0}
    linear_to_lora_layers(model, len(model.layers), config, use_dora=method == "dora")
    args = TrainingArgs(batch_size=2, iters=STEPS, steps_per_report=1, steps_per_eval=3)
    args.adapter_file = str(path / "theirs.safetensors")
    with contextlib.redirect_stdout(io.StringIO()):
        mlx_lm_train(
            model,
            CLASSES[optimizer](learning_rate=rate),
            CacheDataset(dataset(tokenizer)),
            validation and CacheDataset(validation(tokenizer)),
            args=args,
            training_callback=seen,
        )
    Path(args.adapter_file).unlink()
    return seen


def ours(path: Path, out: Path, rate: float, rows: list[Any], **options: Any) -> list[float]:
    data = write_rows(out.parent / "rows.jsonl", rows)
    run = train(
        path,
        out,
        data,
        iterations=STEPS,
        batch_size=2,
        rank=4,
        scale=10.0,
        learning_rate=rate,
        seed=3,
        **options,
    )
    return run.losses


@pytest.mark.parametrize(
    ("method", "optimizer", "rate"),
    [
        ("lora", "adamw", 1e-3),
        ("lora", "sgd", 1e-2),
        ("dora", "adamw", 1e-3),
        ("dora", "sgd", 1e-2),
    ],
)
def test_the_losses_of_a_training_are_those_of_mlx_lm(
    models: Callable[..., Path], tmp_path: Path, method: str, optimizer: str, rate: float
) -> None:
    path = models("llama3")

    mine = ours(path, tmp_path / "out", rate, ROWS, method=method, optimizer=optimizer)

    wanted = theirs(
        path,
        lambda made: ChatDataset(ROWS, made),
        rate=rate,
        method=method,
        optimizer=optimizer,
    )
    assert mine == pytest.approx(wanted.losses, rel=1e-3)
    assert mine[-1] < mine[0]


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
@pytest.mark.parametrize("kind", ["completions", "masked", "text"])
def test_rows_of_each_kind_are_the_tokens_that_mlx_lm_learns(
    models: Callable[..., Path], tmp_path: Path, family: str, kind: str
) -> None:
    path = models(family)
    masked = kind == "masked"
    rows: list[Any] = TEXTS if kind == "text" else COMPLETIONS

    mine = ours(path, tmp_path / "out", 1e-3, rows, mask_prompt=masked)

    def made(tokenizer: Any) -> Any:
        if kind == "text":
            return TextDataset(rows, tokenizer)
        return CompletionsDataset(rows, tokenizer, "prompt", "completion", masked)

    assert mine == pytest.approx(theirs(path, made, rate=1e-3).losses, rel=1e-3)


def test_the_loss_of_the_validation_is_that_of_mlx_lm(
    models: Callable[..., Path], tmp_path: Path
) -> None:
    path = models("llama3")
    other = write_rows(tmp_path / "other.jsonl", COMPLETIONS[:4])
    run = train(
        path,
        tmp_path / "out",
        iterations=2,
        batch_size=2,
        validation=other,
        evaluate_every=5,
        seed=3,
        rank=4,
        scale=10.0,
        learning_rate=1e-3,
    )

    def made(tokenizer: Any) -> Any:
        return CompletionsDataset(COMPLETIONS[:4], tokenizer, "prompt", "completion", False)

    wanted = theirs(path, lambda t: ChatDataset(ROWS, t), rate=1e-3, validation=made)
    assert run.steps[0]["validation_loss"] == pytest.approx(wanted.validation[0], rel=1e-3)
    # mlx-lm computes it before a step, so that of its third is ours after the second
    assert run.last["validation_loss"] == pytest.approx(wanted.validation[1], rel=1e-3)
