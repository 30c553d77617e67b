"""Each form of weights: the same as mlx-lm writes, and loaded and answered by the worker."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm import convert as theirs
from mlx_lm import load
from mlx_lm.utils import compute_bits_per_weight, load_model

from mlxwire_worker.mlx_engine.writing import model_folder
from support.bare_models import IDS
from support.conversion import config_of, converted
from support.model_worker import Models, ModelWorker
from zoo.builder import build

FORMS: list[dict[str, Any]] = [
    *({"bits": bits, "group_size": 32} for bits in (2, 3, 4, 5, 6, 8)),
    {"group_size": 64},
    {"mode": "mxfp4"},
    {"mode": "mxfp8"},
    {"mode": "nvfp4"},
]
SETTINGS = ("quantization", "quantization_config")


def weights(folder: Path) -> dict[str, mx.array]:
    return dict(tree_flatten(load_model(folder, lazy=True)[0].parameters()))


def same(ours: Path, other: Path) -> bool:
    mine, wanted = weights(ours), weights(other)
    equal = all(mx.array_equal(mine[name], array).item() for name, array in wanted.items())
    return equal and mine.keys() == wanted.keys()


def converted_by_mlx_lm(source: Path, out: Path, **options: Any) -> None:
    names = {"bits": "q_bits", "group_size": "q_group_size", "mode": "q_mode"}
    names |= {"mixed": "quant_predicate"}
    given = {names.get(name, name): value for name, value in options.items()}
    with contextlib.redirect_stdout(io.StringIO()):
        theirs(str(source), str(out), **given)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_quantized_weights_are_those_of_mlx_lm_and_the_worker_tells_their_form(
    worker: ModelWorker, models: Models, tmp_path: Path, form: dict[str, Any]
) -> None:
    source, ours, other = models("qwen3"), tmp_path / "ours", tmp_path / "theirs"
    plain = worker.use(source).ask("info")

    result = converted(source, ours, **form)

    converted_by_mlx_lm(source, other, quantize=True, **form)
    assert same(ours, other)
    for name in SETTINGS:
        assert config_of(ours)[name] == config_of(other)[name]
    wanted = compute_bits_per_weight(load_model(other, lazy=True)[0])
    assert result["bits_per_weight"] == pytest.approx(wanted, abs=0.01)
    info = worker.use(ours).ask("info")
    assert result["parameters"] == info["parameters"] == plain["parameters"]
    told = result["quantization"]
    assert (info["quant_bits"], info["quant_group"]) == (told["bits"], told["group_size"])
    assert told["mode"] == form.get("mode", "affine")
    assert len(worker.generate("The weather", max_tokens=4, ignore_eos=True)[1]) == 4
    worker.use(source)


@pytest.mark.parametrize("recipe", ["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"])
def test_a_recipe_gives_the_weights_of_mlx_lm(
    models: Models, tmp_path: Path, recipe: str
) -> None:
    ours, other = tmp_path / "ours", tmp_path / "theirs"

    result = converted(models("qwen3"), ours, mixed=recipe, group_size=32)

    converted_by_mlx_lm(models("qwen3"), other, quantize=True, mixed=recipe, group_size=32)
    assert same(ours, other)
    forms = config_of(ours)["quantization"]
    several = {form["bits"] for form in forms.values() if isinstance(form, dict)}
    assert several == {int(part) for part in recipe.split("_")[1:]}
    low, high = sorted(several)
    assert low + 1 < result["bits_per_weight"] < high + 2


def test_a_recipe_without_a_group_size_takes_groups_of_64(
    models: Models, tmp_path: Path
) -> None:
    converted(models("qwen3"), tmp_path / "out", mixed="mixed_3_6")

    forms = config_of(tmp_path / "out")["quantization"]
    assert {form["group_size"] for form in forms.values() if isinstance(form, dict)} == {64}
    load(str(tmp_path / "out"))


def test_what_an_architecture_keeps_precise_stays_so_under_a_recipe(tmp_path: Path) -> None:
    source = build("qwen3_moe", tmp_path / "source")

    converted(source, tmp_path / "out", mixed="mixed_2_6", group_size=32)

    forms = config_of(tmp_path / "out")["quantization"]
    routers = [form for path, form in forms.items() if path.endswith("mlp.gate")]
    assert routers
    assert {form["bits"] for form in routers} == {8}
    load_model(tmp_path / "out")


@pytest.mark.parametrize(
    "architecture",
    ["mixtral", "qwen3_vl", "gpt2", "granitemoehybrid", "mamba2", "deepseek_v3", "qwen3_5"],
)
def test_each_architecture_answers_the_same_from_its_new_folder(
    tmp_path: Path, architecture: str
) -> None:
    source = build(architecture, tmp_path / "source")

    result = converted(source, tmp_path / "out")

    assert result["quantization"] is None
    assert mx.array_equal(load_model(tmp_path / "out")[0](IDS), load_model(source)[0](IDS))


@pytest.mark.parametrize("architecture", ["qwen3", "deepseek_v3", "mixtral"])
def test_quantized_weights_become_plain_ones(tmp_path: Path, architecture: str) -> None:
    source = build(architecture, tmp_path / "source")
    converted(source, tmp_path / "packed", bits=8, group_size=32)

    result = converted(tmp_path / "packed", tmp_path / "plain", dequantize=True)

    assert result["quantization"] is None
    assert not SETTINGS & config_of(tmp_path / "plain").keys()
    before, after = weights(source), weights(tmp_path / "plain")
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        off = mx.linalg.norm((after[name] - array).flatten())
        assert (off <= 0.02 * mx.linalg.norm(array.flatten())).item(), name


def test_quantized_weights_take_another_form_only_through_plain_ones(
    models: Models, tmp_path: Path
) -> None:
    result = converted(models("qwen3", True), tmp_path / "out", dequantize=True, bits=8)

    assert result["quantization"] == {"bits": 8, "group_size": 64, "mode": "affine"}
    load(str(tmp_path / "out"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_dtype_is_that_of_the_weights_and_of_the_config(
    models: Models, tmp_path: Path, dtype: str
) -> None:
    converted(models("qwen3"), tmp_path / "out", dtype=dtype)

    assert {array.dtype for array in weights(tmp_path / "out").values()} == {getattr(mx, dtype)}
    config = config_of(tmp_path / "out")
    assert {config[name] for name in ("torch_dtype", "dtype") if name in config} == {dtype}


def test_weights_of_several_files_have_an_index_that_a_load_takes(
    worker: ModelWorker, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_three(tensors: dict[str, mx.array], _: int) -> list[dict[str, mx.array]]:
        names = list(tensors)
        return [{name: tensors[name] for name in names[start::3]} for start in range(3)]

    monkeypatch.setattr(model_folder, "make_shards", in_three)

    converted(models("qwen3"), tmp_path / "out", bits=4, group_size=32)

    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    files = {f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)}
    assert set(index["weight_map"].values()) == files
    info = worker.use(tmp_path / "out").ask("info")
    assert index["metadata"]["total_parameters"] == info["parameters"]


def test_matrices_that_no_group_divides_stay_plain_and_are_counted(tmp_path: Path) -> None:
    source = build("gpt_oss", tmp_path / "source")

    result = converted(source, tmp_path / "out", group_size=64)

    packed = [path for path in weights(tmp_path / "out") if path.endswith(".scales")]
    assert packed
    assert [warning.split()[1:4] for warning in result["warnings"]] == [
        ["matrices", "stay", "plain,"]
    ]
    load_model(tmp_path / "out")
