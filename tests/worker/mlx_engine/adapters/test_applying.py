"""Adapters that are loaded with their model: computed as mlx-lm does, or refused as a whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from factories import build_adapter, build_model, build_peft_adapter
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


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
@pytest.mark.parametrize("quantized", [False, True], ids=["plain", "4-bit"])
def test_an_adapter_in_pefts_format_answers_as_the_same_in_mlx_lms(
    worker: ModelWorker, models: Models, tmp_path: Path, quantized: bool, dora: bool
) -> None:
    path = models("qwen3", quantized)
    sizes = {"q_proj": (128, 64), "v_proj": (64, 64)}
    shapes = {
        f"model.layers.{number}.self_attn.{part}": size
        for number in (1, 2)
        for part, size in sizes.items()
    }
    peft = build_peft_adapter(
        tmp_path / "peft", shapes, alpha=60, dora=dora, layers_to_transform=[1, 2]
    )
    twin = as_of_mlx_lm(peft, tmp_path / "mlx", scale=15.0, dora=dora)
    plain = worker.use(path).generate(PROMPT, max_tokens=32)

    adapted = worker.use(path, adapter_path=str(peft)).generate(PROMPT, max_tokens=32)

    assert adapted == reference(path, twin).generate(PROMPT, 32)
    assert adapted != plain


def as_of_mlx_lm(peft: Path, folder: Path, *, scale: float, dora: bool) -> Path:
    """Write an adapter of the last two layers' q_proj and v_proj again, in mlx-lm's format."""
    folder.mkdir()
    loaded = mx.load(str(peft / "adapter_model.safetensors"))
    assert isinstance(loaded, dict)
    named = {"lora_A.weight": "lora_a", "lora_B.weight": "lora_b", "lora_magnitude_vector": "m"}
    tensors = {}
    for key, array in loaded.items():
        old = next(end for end in named if key.endswith(end))
        name = key.removeprefix("base_model.model.").removesuffix(old) + named[old]
        tensors[name] = mx.contiguous(array.T)
    mx.save_safetensors(str(folder / "adapters.safetensors"), tensors)
    keys = ["self_attn.q_proj", "self_attn.v_proj"]
    config = {
        "fine_tune_type": "dora" if dora else "lora",
        "num_layers": 2,
        "lora_parameters": {"rank": 4, "scale": scale, "dropout": 0.0, "keys": keys},
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_whole_weights_replace_those_of_the_model(
    worker: ModelWorker, models: Models, tmp_path: Path
) -> None:
    path, other = models("qwen3"), build_model("qwen3", tmp_path / "other", seed=5)
    shutil.copy(other / "model.safetensors", tmp_path / "adapters.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"fine_tune_type": "full"}))
    expected = worker.use(other).generate(PROMPT, max_tokens=16)

    found = worker.use(path, adapter_path=str(tmp_path)).generate(PROMPT, max_tokens=16)

    assert found == expected


@pytest.mark.parametrize("rename", [True, False], ids=["another name", "another shape"])
def test_whole_weights_of_another_model_are_refused(
    worker: ModelWorker, models: Models, tmp_path: Path, rename: bool
) -> None:
    bad = {"model.other.weight": mx.ones(3)} if rename else {"model.norm.weight": mx.ones(3)}
    mx.save_safetensors(str(tmp_path / "adapters.safetensors"), bad)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"fine_tune_type": "full"}))

    error = worker.refusal("load", path=str(models("qwen3")), adapter_path=str(tmp_path))

    assert (error["data"]["reason"], error["data"]["tensor"]) == ("adapter", next(iter(bad)))


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
