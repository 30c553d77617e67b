"""LoRA adapters: as mlx-lm computes them, or refused as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from factories import build_adapter
from support.model_worker import Models, ModelWorker
from support.reference import reference

PROMPT = "The weather in Paris is"


@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "4-bit"])
def test_an_adapted_model_answers_as_with_mlx_lm(
    worker: ModelWorker, models: Models, tmp_path: Path, quantized: bool
) -> None:
    path = models("qwen3", quantized)
    adapter = build_adapter(path, tmp_path)
    plain = worker.use(path).generate(PROMPT, max_tokens=48)

    adapted = worker.use(path, adapter_path=str(adapter)).generate(PROMPT, max_tokens=48)

    assert adapted == reference(path, adapter).generate(PROMPT, 48)
    assert adapted != plain
    assert worker.ask("info")["adapter_path"] == str(adapter)
    assert worker.use(path).generate(PROMPT, max_tokens=48) == plain
    assert worker.ask("info")["adapter_path"] is None


def test_an_adapter_of_other_modules_and_layers_is_computed_too(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    path = models("llama3")
    adapter = build_adapter(
        path, tmp_path, rank=8, num_layers=3, keys=["mlp.down_proj", "self_attn.o_proj"]
    )

    adapted = worker.use(path, adapter_path=str(adapter)).generate(PROMPT, max_tokens=32)

    assert adapted == reference(path, adapter).generate(PROMPT, 32)


def truncate(adapter: Path) -> None:
    file = adapter / "adapters.safetensors"
    file.write_bytes(file.read_bytes()[:-64])


def drop_tensors(adapter: Path) -> None:
    file = str(adapter / "adapters.safetensors")
    tensors = mx.load(file)
    assert isinstance(tensors, dict)
    kept = dict(sorted(tensors.items())[:2])
    mx.eval(kept)
    mx.save_safetensors(file, kept)


def rename_tensors(adapter: Path) -> None:
    file = str(adapter / "adapters.safetensors")
    tensors = mx.load(file)
    assert isinstance(tensors, dict)
    renamed = {f"other.{name}": array for name, array in tensors.items()}
    mx.eval(renamed)
    mx.save_safetensors(file, renamed)


def widen_tensors(adapter: Path) -> None:
    file = str(adapter / "adapters.safetensors")
    tensors = mx.load(file)
    assert isinstance(tensors, dict)
    wide = {name: mx.concatenate([array, array]) for name, array in tensors.items()}
    mx.eval(wide)
    mx.save_safetensors(file, wide)


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(adapter: Path) -> None:
        file = adapter / "adapter_config.json"
        config = json.loads(file.read_text()) | changes
        file.write_text(
            json.dumps({name: value for name, value in config.items() if value is not None})
        )

    return edit


BREAKS: dict[str, Callable[[Path], object]] = {
    "truncated": truncate,
    "tensors_missing": drop_tensors,
    "tensors_of_other_names": rename_tensors,
    "tensors_of_other_shapes": widen_tensors,
    "weights_absent": lambda adapter: (adapter / "adapters.safetensors").unlink(),
    "config_absent": lambda adapter: (adapter / "adapter_config.json").unlink(),
    "config_cut_off": lambda adapter: (adapter / "adapter_config.json").write_text("{"),
    "rank_of_another": edit_config(
        lora_parameters={
            "rank": 16,
            "scale": 1.0,
            "dropout": 0.0,
            "keys": ["self_attn.q_proj", "self_attn.v_proj"],
        }
    ),
    "rank_absent": edit_config(lora_parameters={"scale": 1.0}),
    "parameters_a_list": edit_config(lora_parameters=[]),
    "layers_absent": edit_config(num_layers=None),
    "layers_a_word": edit_config(num_layers="two"),
    "more_layers_than_saved": edit_config(num_layers=3),
    "fewer_layers_than_saved": edit_config(num_layers=1),
    "type_unknown": edit_config(fine_tune_type="magic"),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_adapter_is_refused_and_the_old_model_stays(
    worker: ModelWorker, models: Models, tmp_path: Path, kind: str
) -> None:
    path = models("qwen3")
    before = worker.use(path).generate(PROMPT, max_tokens=4)
    adapter = build_adapter(path, tmp_path / "adapter")
    BREAKS[kind](adapter)

    error = worker.refusal("load", path=str(path), adapter_path=str(adapter))

    assert (error["code"], error["data"]["reason"]) in (
        ("model_load_failed", "adapter"),
        ("model_load_failed", "invalid_json"),
    ), error
    assert len(error["message"]) < 1000
    assert any(word in error["message"] for word in ("use", "copy", "save")), error
    assert worker.ask("info")["adapter_path"] is None
    assert worker.generate(PROMPT, max_tokens=4) == before


def test_an_adapter_of_another_model_is_refused(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    foreign = build_adapter(models("gemma3"), tmp_path / "foreign", num_layers=4)

    error = worker.refusal("load", path=str(models("qwen3")), adapter_path=str(foreign))

    assert (error["code"], error["data"]["reason"]) == ("model_load_failed", "adapter")


def test_an_adapter_that_is_not_there_is_model_not_found(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    error = worker.refusal(
        "load", path=str(models("qwen3")), adapter_path=str(tmp_path / "nowhere")
    )

    assert error["code"] == "model_not_found"
    assert error["data"]["field"] == "adapter_path"


def test_a_broken_model_with_a_sound_adapter_is_refused(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    adapter = build_adapter(models("qwen3"), tmp_path / "adapter")
    broken = tmp_path / "broken"
    shutil.copytree(models("qwen3"), broken)
    (broken / "model.safetensors").write_bytes(b"")

    error = worker.refusal("load", path=str(broken), adapter_path=str(adapter))

    assert error["data"]["reason"] == "damaged_shard"
