"""A training that can't go on says why, and leaves its last whole checkpoint."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.training import saving, trainer
from support.training import Recorder, Run, cancel_at, train

Models = Callable[..., Path]


def at_step(number: int, do: Callable[[], None]) -> Callable[[Recorder, dict[str, Any]], None]:
    def heard(_: Recorder, event: dict[str, Any]) -> None:
        if event.get("step") == number:
            do()

    return heard


def whole(out: Path, step: int) -> None:
    """Check that the checkpoint of a step is the last, and that a training goes on from it."""
    assert max(int(path.name) for path in (out / "checkpoints").glob("[0-9]*")) == step
    assert Run([], out).tensors(f"checkpoints/{step}")
    assert not list(out.rglob(f"{saving.UNFINISHED}*"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    sound = trainer.batch_loss

    def poison() -> None:
        monkeypatch.setattr(trainer, "batch_loss", lambda *args: sound(*args) * bad)

    with pytest.raises(WireError) as error:
        train(
            models("llama3"),
            tmp_path / "out",
            iterations=6,
            save_every=2,
            on_progress=at_step(3, poison),
        )

    assert error.value.code == "training_failed"
    assert error.value.data == {"step": 4, "checkpoint": str(tmp_path / "out/checkpoints/2")}
    assert str(tmp_path / "out/checkpoints/2") in error.value.message
    whole(tmp_path / "out", 2)
    assert not (tmp_path / "out/adapters.safetensors").exists()


def test_a_rate_that_is_too_high_stops_the_training_before_a_bad_checkpoint(
    models: Models, tmp_path: Path
) -> None:
    with pytest.raises(WireError) as error:
        train(
            models("llama3"),
            tmp_path / "out",
            iterations=50,
            learning_rate=1e38,
            optimizer="sgd",
            save_every=1,
        )

    assert error.value.code == "training_failed"
    assert "learning_rate" in error.value.message
    for folder in (tmp_path / "out/checkpoints").glob("[0-9]*"):
        for array in Run([], tmp_path / "out").tensors(f"checkpoints/{folder.name}").values():
            assert mx.isfinite(array).all().item()


def test_a_memory_limit_stops_a_training_that_needs_more(
    models: Models, tmp_path: Path
) -> None:
    mx.reset_peak_memory()
    with pytest.raises(WireError) as error:
        train(models("llama3"), tmp_path / "out", memory_limit=1_500_000, iterations=2)

    assert error.value.code == "out_of_memory"
    for option in ("batch_size", "max_sequence", "rank", "gradient_checkpointing"):
        assert option in error.value.message
    assert error.value.data["needed"] > 1_500_000


def test_a_memory_limit_below_the_weights_is_told_before_they_are_read(
    models: Models, tmp_path: Path
) -> None:
    with pytest.raises(WireError, match="weights take") as error:
        train(models("llama3"), tmp_path / "out", memory_limit=1000)

    assert error.value.code == "out_of_memory"


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor", "lion", "muon"])
def test_a_memory_limit_below_what_any_row_takes_is_told_before_the_first_step(
    models: Models, tmp_path: Path, optimizer: str
) -> None:
    out = tmp_path / "out"
    options = {"method": "full", "optimizer": optimizer, "iterations": 2}
    mx.reset_peak_memory()
    run = train(models("llama3"), out, save_every=1, **options)
    weights = sum(array.nbytes for array in run.tensors().values())

    with pytest.raises(WireError, match="before any row") as error:
        train(models("llama3"), out, memory_limit=2 * weights - 1, **options)

    assert error.value.code == "out_of_memory"
    assert 2 * weights <= error.value.data["needed"] <= run.last["peak_memory_bytes"]
    for option in ("rank", "layers", "keys", "adafactor"):
        assert option in error.value.message
    whole(out, 2)  # the checkpoints of the training before are still there


def test_a_memory_limit_that_suffices_changes_nothing(models: Models, tmp_path: Path) -> None:
    run = train(models("llama3"), tmp_path / "out", memory_limit=1 << 33, iterations=1)

    assert run.last["event"] == "result"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[malloc] Unable to allocate 123456789 bytes."),
        RuntimeError(
            "[METAL] Command buffer execution failed: Insufficient Memory, out of memory"
        ),
    ],
)
def test_a_full_memory_says_what_to_lower(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> mx.array:
        raise error

    with pytest.raises(WireError) as caught:
        train(
            models("llama3"),
            tmp_path / "out",
            iterations=6,
            save_every=1,
            on_progress=at_step(2, lambda: monkeypatch.setattr(trainer, "batch_loss", fail)),
        )

    assert caught.value.code == "out_of_memory"
    assert "gradient_checkpointing" in caught.value.message
    assert caught.value.data["checkpoint"] == str(tmp_path / "out/checkpoints/2")
    whole(tmp_path / "out", 2)


def test_a_disk_that_fills_up_leaves_the_last_whole_checkpoint(
    models: Models, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))

    try:
        with pytest.raises(WireError) as error:
            train(
                models("llama3"),
                tmp_path / "out",
                iterations=6,
                save_every=2,
                on_progress=at_step(3, fill),
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert error.value.code == "unavailable"
    assert "room" in error.value.message
    assert error.value.data["checkpoint"] == str(tmp_path / "out/checkpoints/2")
    whole(tmp_path / "out", 2)

    again = train(models("llama3"), tmp_path / "out", iterations=6, save_every=2, resume=True)
    assert again.last["steps"] == 6


def test_a_disk_that_is_full_at_the_end_leaves_the_adapter_of_before(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = train(models("llama3"), tmp_path / "out", iterations=1).tensors()
    write = saving.write_tensors

    def full(file: Path, tensors: dict[str, mx.array], form: str) -> None:
        if file.parent == tmp_path / "out":
            file.write_bytes(b"half")
            raise OSError(28, os.strerror(28), str(file))
        write(file, tensors, form)

    monkeypatch.setattr(saving, "write_tensors", full)
    with pytest.raises(WireError) as error:
        train(models("llama3"), tmp_path / "out", iterations=2, rank=4)

    assert error.value.code == "unavailable"
    after = Run([], tmp_path / "out").tensors()
    assert all(mx.array_equal(after[name], array).item() for name, array in before.items())
    whole(tmp_path / "out", 2)


def test_a_model_that_can_not_be_trained_is_told(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> mx.array:
        raise ValueError("[Primitive::vjp] Not implemented for CustomKernel.")

    monkeypatch.setattr(trainer, "batch_loss", fail)
    with pytest.raises(WireError, match="vjp") as error:
        train(models("llama3"), tmp_path / "out", iterations=1)

    assert error.value.code == "training_failed"
    assert error.value.data == {"step": 0, "checkpoint": None}


@pytest.mark.parametrize("stage", ["check", "load"])
def test_a_cancel_before_the_first_step_leaves_no_checkpoint(
    models: Models, tmp_path: Path, stage: str
) -> None:
    def heard(recorder: Recorder, event: dict[str, Any]) -> None:
        if event["stage"] == stage:
            recorder.cancel()

    run = train(models("llama3"), tmp_path / "out", iterations=1, on_progress=heard)

    assert run.last == {"event": "cancelled", "checkpoint": None, "step": 0}


def test_a_cancel_right_after_a_checkpoint_names_it(models: Models, tmp_path: Path) -> None:
    run = train(
        models("llama3"), tmp_path / "out", iterations=6, save_every=2, on_progress=cancel_at(4)
    )

    assert run.last["checkpoint"] == str(tmp_path / "out/checkpoints/4")
    whole(tmp_path / "out", 4)


def edit_state(**entries: Any) -> Callable[[Path], object]:
    """Return a damage to a checkpoint's state."""

    def damage(folder: Path) -> None:
        file = folder / "state.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))

    return damage


DAMAGES: dict[str, Callable[[Path], object]] = {
    "no state's fields": lambda folder: (folder / "state.json").write_text("{}"),
    "a list": lambda folder: (folder / "state.json").write_text("[]"),
    "nested too deep": lambda folder: (folder / "state.json").write_text("[" * 100_000),
    "step a word": edit_state(step="two"),
    "options a list": edit_state(options=[]),
    "no arrays": lambda folder: (folder / "optimizer.safetensors").unlink(),
    "arrays of the adapter": lambda folder: shutil.copy(
        folder / "adapters.safetensors", folder / "optimizer.safetensors"
    ),
    "arrays cut off": lambda folder: os.truncate(folder / "optimizer.safetensors", 999),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named(
    models: Models, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    train(models("llama3"), tmp_path / "out", iterations=2)
    damage(tmp_path / "out/checkpoints/2")

    with pytest.raises(WireError, match="remove its folder") as error:
        train(models("llama3"), tmp_path / "out", iterations=3, resume=True)

    assert (error.value.code, error.value.data["field"]) == ("invalid_params", "resume")


@pytest.mark.parametrize(
    ("name", "makes"),
    [
        ("checkpoints", Path.touch),
        ("adapters.safetensors", Path.mkdir),
        ("adapter_config.json", Path.mkdir),
        ("checkpoints/7", lambda path: path.mkdir(parents=True)),
    ],
)
def test_what_stands_in_the_place_of_the_result_is_refused_before_the_start(
    models: Models, tmp_path: Path, name: str, makes: Callable[[Path], object]
) -> None:
    (tmp_path / "out").mkdir()
    makes(tmp_path / "out" / name)

    with pytest.raises(WireError, match=name) as error:
        train(models("llama3"), tmp_path / "out", iterations=1)

    assert (error.value.code, error.value.data["field"]) == ("invalid_params", "out")
    assert (tmp_path / "out" / name).exists()


def test_a_checkpoint_loses_its_number_before_it_is_removed(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in the middle of the removal must leave no part that looks whole."""
    removed: list[str] = []
    remove = shutil.rmtree

    def rmtree(path: Path, **more: Any) -> None:
        removed.append(path.name)
        remove(path, **more)

    monkeypatch.setattr(shutil, "rmtree", rmtree)

    train(models("llama3"), tmp_path / "out", iterations=4, save_every=1)

    assert removed
    assert all(name.startswith(saving.UNFINISHED) for name in removed)
