"""Damaged and foreign adapters: refused with the file, the first tensor at fault, and a remedy."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from safetensors.numpy import save_file

from factories import build_peft_adapter
from factories.models import write_json
from factories.peft_adapters import PREFIX
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.adapters import checking
from mlxwire_worker.mlx_engine.adapters.applying import apply_adapter
from mlxwire_worker.mlx_engine.adapters.formats import read_adapter
from support.bare_models import bare_model, modules_of

from .test_reading import mlx_adapter, shapes

FILES = {"mlx": "adapters.safetensors", "peft": "adapter_model.safetensors"}
Q1 = f"{PREFIX}model.layers.1.self_attn.q_proj"
V2 = f"{PREFIX}model.layers.2.self_attn.v_proj"
MLX_Q1 = "model.layers.1.self_attn.q_proj"
Damage = Callable[[Path], object]
REMEDIES = (
    "copy",
    "use",
    "train",
    "save",
    "merge",
    "give",
    "write",
    "remove",
    "load",
    "Save",
    "Train",
)


def tensors(edit: Callable[[dict[str, np.ndarray[Any, Any]]], object]) -> Damage:
    """Return a damage to an adapter's tensors."""

    def damage(folder: Path) -> None:
        file = next(folder / name for name in FILES.values() if (folder / name).exists())
        arrays = {name: np.array(array) for name, array in _loaded(file).items()}
        edit(arrays)
        save_file(arrays, file)

    return damage


def _loaded(file: Path) -> dict[str, mx.array]:
    loaded = mx.load(str(file))
    assert isinstance(loaded, dict)
    mx.eval(loaded)
    return loaded


def config(**entries: Any) -> Damage:
    """Return a damage to an adapter's config: other entries; `...` removes one."""

    def damage(folder: Path) -> None:
        file = folder / "adapter_config.json"
        settings = json.loads(file.read_text()) | entries
        write_json(file, {name: each for name, each in settings.items() if each is not ...})

    return damage


def lora(**entries: Any) -> Damage:
    """Return a damage to `lora_parameters` of mlx-lm's config."""

    def damage(folder: Path) -> None:
        settings = json.loads((folder / "adapter_config.json").read_text())
        config(lora_parameters=settings["lora_parameters"] | entries)(folder)

    return damage


def rewritten(name: str, edit: Callable[[bytes], bytes]) -> Damage:
    """Return a damage to the bytes of a file."""
    return lambda folder: (folder / name).write_bytes(edit((folder / name).read_bytes()))


def with_header(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    def edit(whole: bytes) -> bytes:
        size = struct.unpack("<Q", whole[:8])[0]
        header = change(whole[8 : 8 + size].decode()).encode()
        return struct.pack("<Q", len(header)) + header + whole[8 + size :]

    return edit


def named_twice(header: str) -> str:
    first = next(name for name in json.loads(header) if name != "__metadata__")
    return f'{header.rstrip()[:-1]},"{first}":{json.dumps(json.loads(header)[first])}}}'


def set_to(name: str, value: Any) -> Damage:
    return tensors(lambda arrays: arrays.__setitem__(name, value(arrays[name])))


def renamed(old: str, new: str) -> Damage:
    return tensors(lambda arrays: arrays.__setitem__(new, arrays.pop(old)))


def without(*names: str) -> Damage:
    return tensors(lambda arrays: [arrays.pop(name) for name in names])


def added(name: str, *shape: int) -> Damage:
    return tensors(lambda arrays: arrays.__setitem__(name, np.ones(shape, np.float32)))


def number(value: float) -> Callable[[Any], Any]:
    def put(array: Any) -> Any:
        array.flat[3] = value
        return array

    return put


PEFT: dict[str, tuple[Damage, str | None]] = {
    "truncated": (rewritten(FILES["peft"], lambda whole: whole[:-40]), None),
    "empty file": (rewritten(FILES["peft"], lambda _: b""), None),
    "not safetensors": (rewritten(FILES["peft"], lambda _: b"PK\x03\x04" * 99), None),
    "pointer of Git LFS": (
        rewritten(FILES["peft"], lambda _: b"version https://git-lfs.github.com/spec/v1\n"),
        None,
    ),
    "huge header": (rewritten(FILES["peft"], lambda whole: b"\xff" * 8 + whole), None),
    "name twice": (rewritten(FILES["peft"], with_header(named_twice)), None),
    "no tensor": (tensors(lambda arrays: arrays.clear()), None),
    "tensors absent": (lambda folder: (folder / FILES["peft"]).unlink(), None),
    "pickle alone": (
        lambda folder: (folder / FILES["peft"]).rename(folder / "adapter_model.bin"),
        None,
    ),
    "in several files": (
        lambda folder: (folder / FILES["peft"]).rename(
            folder / "adapter_model-00001-of-00002.safetensors"
        ),
        None,
    ),
    "config absent": (lambda folder: (folder / "adapter_config.json").unlink(), None),
    "config cut off": (rewritten("adapter_config.json", lambda whole: whole[:50]), None),
    "config a list": (rewritten("adapter_config.json", lambda _: b"[]"), None),
    "A missing": (without(f"{Q1}.lora_A.weight"), f"{Q1}.lora_A.weight"),
    "B missing": (without(f"{Q1}.lora_B.weight"), f"{Q1}.lora_B.weight"),
    "module missing": (
        without(f"{V2}.lora_A.weight", f"{V2}.lora_B.weight"),
        f"{V2}.lora_A.weight",
    ),
    "unknown module": (
        renamed(f"{Q1}.lora_A.weight", f"{Q1}x.lora_A.weight"),
        f"{Q1}x.lora_A.weight",
    ),
    "unknown layer": (
        renamed(
            f"{Q1}.lora_A.weight", f"{PREFIX}model.layers.7.self_attn.q_proj.lora_A.weight"
        ),
        f"{PREFIX}model.layers.7.self_attn.q_proj.lora_A.weight",
    ),
    "no LoRA's key": (added(f"{Q1}.bias", 64), f"{Q1}.bias"),
    "whole module": (
        added(f"{PREFIX}model.layers.1.mlp.down_proj.weight", 64, 96),
        f"{PREFIX}model.layers.1.mlp.down_proj.weight",
    ),
    "trained embedding": (
        added(f"{PREFIX}model.embed_tokens.weight", 512, 64),
        f"{PREFIX}model.embed_tokens.weight",
    ),
    "resized embedding": (
        added(f"{PREFIX}model.embed_tokens.weight", 520, 64),
        f"{PREFIX}model.embed_tokens.weight",
    ),
    "bias of B": (added(f"{Q1}.lora_B.bias", 64), f"{Q1}.lora_B.bias"),
    "long name": (added("x" * 600, 1), None),
    "two adapters": (
        renamed(f"{Q1}.lora_A.weight", f"{Q1}.lora_A.other.weight"),
        f"{Q1}.lora_A.other.weight",
    ),
    "one twice": (
        added("model.layers.1.self_attn.q_proj.lora_A.weight", 4, 64),
        "model.layers.1.self_attn.q_proj.lora_A.weight",
    ),
    "other inputs": (
        set_to(f"{Q1}.lora_A.weight", lambda array: array[:, :-1]),
        f"{Q1}.lora_A.weight",
    ),
    "other outputs": (
        set_to(f"{Q1}.lora_B.weight", lambda array: np.concatenate([array, array])),
        f"{Q1}.lora_B.weight",
    ),
    "turned round": (
        set_to(f"{Q1}.lora_A.weight", lambda array: array.T),
        f"{Q1}.lora_A.weight",
    ),
    "other rank": (
        set_to(f"{Q1}.lora_A.weight", lambda array: array[:2]),
        f"{Q1}.lora_A.weight",
    ),
    "other rank in the config": (
        config(r=8),
        f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight",
    ),
    "three axes": (
        set_to(f"{Q1}.lora_A.weight", lambda array: array[None]),
        f"{Q1}.lora_A.weight",
    ),
    "NaN": (set_to(f"{Q1}.lora_B.weight", number(np.nan)), f"{Q1}.lora_B.weight"),
    "infinity": (set_to(f"{V2}.lora_A.weight", number(-np.inf)), f"{V2}.lora_A.weight"),
    "integers": (
        set_to(f"{Q1}.lora_A.weight", lambda array: array.astype(np.int32)),
        f"{Q1}.lora_A.weight",
    ),
    "doubles": (
        set_to(f"{Q1}.lora_A.weight", lambda array: array.astype(np.float64)),
        f"{Q1}.lora_A.weight",
    ),
    "magnitude without DoRA": (
        added(f"{Q1}.lora_magnitude_vector", 64),
        f"{Q1}.lora_magnitude_vector",
    ),
    "DoRA without magnitude": (
        config(use_dora=True),
        f"{PREFIX}model.layers.0.self_attn.q_proj.lora_magnitude_vector",
    ),
    "not a target": (
        config(target_modules=["v_proj"]),
        f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight",
    ),
    "target without tensors": (
        config(target_modules=["q_proj", "v_proj", "up_proj"]),
        f"{PREFIX}model.layers.0.mlp.up_proj.lora_A.weight",
    ),
    "excluded": (
        config(exclude_modules=["q_proj"]),
        f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight",
    ),
    "other layers": (
        config(layers_to_transform=[1, 2]),
        f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight",
    ),
    **{
        f"config {name}={value!r:.30}": (config(**{name: value}), None)
        for name, value in [
            ("peft_type", "IA3"),
            ("peft_type", "ADALORA"),
            ("peft_type", 5),
            ("peft_type", None),
            ("r", 0),
            ("r", -4),
            ("r", 4.0),
            ("r", True),
            ("r", "4"),
            ("r", ...),
            ("lora_alpha", "8"),
            ("lora_alpha", float("nan")),
            ("lora_alpha", float("inf")),
            ("lora_alpha", 10**400),
            ("lora_alpha", None),
            ("use_rslora", "yes"),
            ("use_dora", 1),
            ("rank_pattern", [1]),
            ("rank_pattern", {"q_proj": 0}),
            ("rank_pattern", {"((a+)+)+$": 4}),
            ("rank_pattern", {"(": 4}),
            ("rank_pattern", {"(a|b)" * 100: 4}),
            ("rank_pattern", {"(a*)*": 4}),
            ("rank_pattern", {"a*b*c*d": 4}),
            ("rank_pattern", {f"[{number}]": 4 for number in range(40)}),
            ("alpha_pattern", {"q_proj": "8"}),
            ("alpha_pattern", {"q_proj": float("inf")}),
            ("target_modules", None),
            ("target_modules", []),
            ("target_modules", [1]),
            ("target_modules", {"q_proj": 1}),
            ("layers_to_transform", "all"),
            ("layers_to_transform", [-1]),
            ("exclude_modules", 3),
            ("bias", "all"),
            ("bias", "lora_only"),
            ("lora_bias", True),
            ("modules_to_save", ["lm_head"]),
            ("trainable_token_indices", [1, 2]),
            ("target_parameters", ["mlp.experts.gate_up_proj"]),
            ("layer_replication", [[0, 2], [1, 3]]),
            ("megatron_config", {"a": 1}),
            ("alora_invocation_tokens", [5]),
            ("use_qalora", True),
            ("init_lora_weights", "pissa"),
            ("init_lora_weights", "pissa_niter_16"),
            ("init_lora_weights", "olora"),
            ("init_lora_weights", "loftq"),
            ("init_lora_weights", "corda"),
            ("init_lora_weights", "later"),
            ("init_lora_weights", {"a": 1}),
            ("some_new_way", True),
        ]
    },
}
"""By its name: the damage to an adapter of Llama's q_proj and v_proj, and the tensor named for it."""

MLX: dict[str, tuple[Damage, str | None]] = {
    "truncated": (rewritten(FILES["mlx"], lambda whole: whole[:-40]), None),
    "huge header": (rewritten(FILES["mlx"], lambda whole: b"\xff" * 8 + whole), None),
    "name twice": (rewritten(FILES["mlx"], with_header(named_twice)), None),
    "no tensor": (tensors(lambda arrays: arrays.clear()), None),
    "tensors absent": (lambda folder: (folder / FILES["mlx"]).unlink(), None),
    "config absent": (lambda folder: (folder / "adapter_config.json").unlink(), None),
    "config cut off": (rewritten("adapter_config.json", lambda whole: whole[:50]), None),
    "config a list": (rewritten("adapter_config.json", lambda _: b"[]"), None),
    "A missing": (without(f"{MLX_Q1}.lora_a"), f"{MLX_Q1}.lora_a"),
    "B missing": (without(f"{MLX_Q1}.lora_b"), f"{MLX_Q1}.lora_b"),
    "unknown module": (renamed(f"{MLX_Q1}.lora_a", f"{MLX_Q1}x.lora_a"), f"{MLX_Q1}x.lora_a"),
    "unknown layer": (
        renamed(f"{MLX_Q1}.lora_a", "model.layers.9.self_attn.q_proj.lora_a"),
        "model.layers.9.self_attn.q_proj.lora_a",
    ),
    "no LoRA's key": (added(f"{MLX_Q1}.weight", 64, 64), f"{MLX_Q1}.weight"),
    "module that the config leaves out": (
        added("model.layers.2.mlp.up_proj.lora_a", 64, 4),
        "model.layers.2.mlp.up_proj.lora_a",
    ),
    "magnitude without DoRA": (added(f"{MLX_Q1}.m", 64), f"{MLX_Q1}.m"),
    "DoRA without magnitude": (config(fine_tune_type="dora"), f"{MLX_Q1}.m"),
    "other inputs": (set_to(f"{MLX_Q1}.lora_a", lambda array: array[:-1]), f"{MLX_Q1}.lora_a"),
    "other outputs": (
        set_to(f"{MLX_Q1}.lora_b", lambda array: array[:, :-1]),
        f"{MLX_Q1}.lora_b",
    ),
    "other rank": (set_to(f"{MLX_Q1}.lora_a", lambda array: array[:, :2]), f"{MLX_Q1}.lora_a"),
    "NaN": (set_to(f"{MLX_Q1}.lora_b", number(np.nan)), f"{MLX_Q1}.lora_b"),
    "infinity": (set_to(f"{MLX_Q1}.lora_b", number(np.inf)), f"{MLX_Q1}.lora_b"),
    "integers": (
        set_to(f"{MLX_Q1}.lora_a", lambda array: array.astype(np.int8)),
        f"{MLX_Q1}.lora_a",
    ),
    "whole weights": (config(fine_tune_type="full"), None),
    "unknown type": (config(fine_tune_type="magic"), None),
    "type an object": (config(fine_tune_type={"a": 1}), None),
    "layers absent": (config(num_layers=...), None),
    "layers a word": (config(num_layers="two"), None),
    "more layers": (config(num_layers=3), "model.layers.0.self_attn.q_proj.lora_a"),
    "fewer layers": (config(num_layers=1), f"{MLX_Q1}.lora_a"),
    "parameters absent": (config(lora_parameters=...), None),
    "parameters a list": (config(lora_parameters=[1]), None),
    "rank 0": (lora(rank=0), None),
    "rank a fraction": (lora(rank=4.5), None),
    "rank of another": (lora(rank=8), f"{MLX_Q1}.lora_a"),
    "scale not finite": (lora(scale=float("-inf")), None),
    "scale a word": (lora(scale="20"), None),
    "dropout 1": (lora(dropout=1.0), None),
    "keys a word": (lora(keys="q_proj"), None),
    "keys of no module": (lora(keys=["attention.wq"]), None),
}
"""By its name: the damage to an adapter of q_proj in the last two layers, and the tensor named."""


def refusal(folder: Path, model: nn.Module) -> WireError:
    """Read an adapter, which must be refused and leave the model alone; return the error."""
    before = [(path, id(module)) for path, module in model.named_modules()]
    weights = [(name, id(array)) for name, array in tree_flatten(model.parameters())]
    with pytest.raises(WireError) as refused:
        read_adapter(folder, modules_of(model))
    error = refused.value
    assert [(path, id(module)) for path, module in model.named_modules()] == before
    assert [(name, id(array)) for name, array in tree_flatten(model.parameters())] == weights
    assert error.code == "model_load_failed"
    assert error.data["field"] == "path"
    assert error.data["reason"] in ("adapter", "invalid_json"), error.data
    assert error.data["file"] in error.message
    assert any(word in error.message for word in REMEDIES), error.message
    assert len(error.message) < 1000
    return error


@pytest.mark.parametrize("kind", PEFT)
def test_a_damaged_peft_adapter_is_refused(tmp_path: Path, kind: str) -> None:
    damage, tensor = PEFT[kind]
    adapter = build_peft_adapter(tmp_path, shapes("q_proj", "v_proj"))
    read_adapter(adapter, modules_of(bare_model("llama")))
    damage(adapter)

    error = refusal(adapter, bare_model("llama"))

    assert error.data.get("tensor") == tensor, error.message
    assert tensor is None or f"`{tensor}`" in error.message


def test_a_bias_is_told_from_a_second_adapter(tmp_path: Path) -> None:
    adapter = build_peft_adapter(tmp_path, shapes("q_proj"))
    added(f"{Q1}.lora_B.bias", 64)(adapter)

    error = refusal(adapter, bare_model("llama"))

    assert "is no part of a LoRA" in error.message
    assert "`lora_bias`" in error.message


@pytest.mark.parametrize("kind", MLX)
def test_a_damaged_adapter_of_mlx_lm_is_refused(tmp_path: Path, kind: str) -> None:
    damage, tensor = MLX[kind]
    adapter = mlx_adapter(tmp_path, bare_model("llama"), "lora", keys=["self_attn.q_proj"])
    read_adapter(adapter, modules_of(bare_model("llama")))
    damage(adapter)

    error = refusal(adapter, bare_model("llama"))

    assert error.data.get("tensor") == tensor, error.message
    assert tensor is None or f"`{tensor}`" in error.message


@pytest.mark.parametrize("setting", ["modules_to_save", "bias", "use_qalora", "some_new_way"])
def test_a_setting_that_is_not_served_is_named(tmp_path: Path, setting: str) -> None:
    adapter = build_peft_adapter(tmp_path, shapes("q_proj"), **{setting: "all"})

    assert f"`{setting}`" in refusal(adapter, bare_model("llama")).message


def test_a_folder_that_is_not_there_is_model_not_found(tmp_path: Path) -> None:
    with pytest.raises(WireError) as refused:
        read_adapter(
            tmp_path / "nowhere", modules_of(bare_model("llama")), field="adapter_path"
        )

    assert refused.value.code == "model_not_found"
    assert refused.value.data["field"] == "adapter_path"


def test_a_folder_above_the_adapter_is_refused_with_the_one_below(tmp_path: Path) -> None:
    build_peft_adapter(tmp_path / "checkpoint-500", shapes("q_proj"))

    assert "checkpoint-500" in refusal(tmp_path, bare_model("llama")).message


def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    adapter = build_peft_adapter(tmp_path, shapes("q_proj"))
    (adapter / FILES["peft"]).unlink()
    os.mkfifo(adapter / FILES["peft"])

    with pytest.raises(WireError, match="not a regular file"):
        read_adapter(adapter, modules_of(bare_model("llama")))


def test_an_adapter_of_a_larger_model_names_that_model(tmp_path: Path) -> None:
    larger = dict.fromkeys(shapes("q_proj"), (128, 128))
    adapter = build_peft_adapter(tmp_path, larger)

    error = refusal(adapter, bare_model("llama"))

    assert "somebody/some-model" in error.message
    assert error.data["tensor"] == f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight"


def test_the_last_layer_of_a_tied_model_is_refused(tmp_path: Path) -> None:
    adapter = build_peft_adapter(tmp_path, {"lm_head": (512, 64)})

    error = refusal(adapter, bare_model("llama", tie_word_embeddings=True))

    assert "tie_word_embeddings" in error.message


def test_an_embedding_of_a_tied_model_is_refused_in_pefts_format(tmp_path: Path) -> None:
    adapter = build_peft_adapter(tmp_path, {"model.embed_tokens": (64, 512)})
    tensors(
        lambda arrays: [
            arrays.__setitem__(name.replace("lora_", "lora_embedding_")[:-7], arrays.pop(name))
            for name in list(arrays)
        ]
    )(adapter)
    ids = bare_model("llama").model.embed_tokens.weight.shape[0]

    error = refusal(adapter, bare_model("llama", tie_word_embeddings=True, vocab_size=ids))

    assert "last layer" in error.message


@pytest.mark.parametrize(
    ("architecture", "path"),
    [
        ("deepseek_v3", "model.layers.1.self_attn.embed_q"),
        ("mamba2", "backbone.layers.1.mixer.conv1d"),
        ("llama", "model.layers.1.input_layernorm"),
    ],
)
def test_a_module_that_can_have_no_adapter_is_refused_with_its_class(
    tmp_path: Path, architecture: str, path: str
) -> None:
    model = bare_model(architecture)
    adapter = build_peft_adapter(tmp_path, {path: (64, 64)})

    error = refusal(adapter, model)

    assert type(modules_of(model)[path]).__name__ in error.message


def test_part_of_a_layers_experts_is_refused(tmp_path: Path) -> None:
    start = "model.layers.0.block_sparse_moe.experts"
    sizes = modules_of(bare_model("mixtral"))[
        "model.layers.0.block_sparse_moe.switch_mlp.gate_proj"
    ]
    _, outputs, inputs = sizes.weight.shape
    adapter = build_peft_adapter(
        tmp_path, {f"{start}.{number}.w1": (outputs, inputs) for number in (0, 1, 3)}
    )

    error = refusal(adapter, bare_model("mixtral"))

    assert error.data["tensor"] == f"{PREFIX}{start}.0.w1.lora_A.weight"
    assert "expert 2" in error.message


def test_experts_of_different_ranks_are_refused(tmp_path: Path) -> None:
    start = "model.layers.0.block_sparse_moe.experts"
    sizes = modules_of(bare_model("mixtral"))[
        "model.layers.0.block_sparse_moe.switch_mlp.gate_proj"
    ]
    experts, outputs, inputs = sizes.weight.shape
    adapter = build_peft_adapter(
        tmp_path,
        {f"{start}.{number}.w1": (outputs, inputs) for number in range(experts)},
        ranks={f"{start}.2.w1": 8},
    )

    error = refusal(adapter, bare_model("mixtral"))

    assert error.data["tensor"] == f"{PREFIX}{start}.2.w1.lora_A.weight"


def test_dora_of_experts_and_of_embeddings_is_refused(tmp_path: Path) -> None:
    adapter = mlx_adapter(tmp_path, bare_model("llama"), "dora", keys=["model.embed_tokens"])

    assert "DoRA" in refusal(adapter, bare_model("llama")).message


def test_an_architecture_whose_weights_mlx_lm_scales_is_refused(tmp_path: Path) -> None:
    adapter = build_peft_adapter(tmp_path, shapes("q_proj"))

    assert "falcon_h1" in refusal(adapter, bare_model("falcon_h1")).message


def test_a_model_that_was_loaded_with_an_adapter_takes_no_other(tmp_path: Path) -> None:
    adapter = build_peft_adapter(tmp_path, shapes("q_proj"))
    model = bare_model("llama")
    apply_adapter(model, adapter)

    with pytest.raises(WireError, match="`adapter_path`"):
        read_adapter(adapter, modules_of(model))


def test_an_adapter_that_memory_can_not_hold_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = build_peft_adapter(tmp_path, shapes("q_proj"))
    monkeypatch.setattr(checking, "memory_bytes", lambda: 2 * 4 * 3 * 2 * 64 * 4 - 1)
    monkeypatch.setattr(mx, "load", pytest.fail)

    with pytest.raises(WireError) as refused:
        read_adapter(adapter, modules_of(bare_model("llama")))

    assert refused.value.code == "out_of_memory"


def test_a_layer_that_the_model_does_not_call_is_refused(tmp_path: Path) -> None:
    model = bare_model("gemma3n")
    path = "model.language_model.layers.0.altup.prediction_coefs"
    adapter = build_peft_adapter(tmp_path, {path: modules_of(model)[path].weight.shape})

    assert "past the layer" in refusal(adapter, model).message


def test_a_model_that_can_not_be_computed_with_the_adapter_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = build_peft_adapter(tmp_path, shapes("q_proj"))
    model = bare_model("llama")
    before = modules_of(model)

    def call(own: nn.Module, *_: object, **__: object) -> None:
        own.layers[0].self_attn.q_proj.weight  # noqa: B018 (mlx-lm's layers have none)

    monkeypatch.setattr(type(model), "__call__", call)
    with pytest.raises(WireError, match="can't compute"):
        apply_adapter(model, adapter)

    assert {path: id(each) for path, each in modules_of(model).items()} == {
        path: id(each) for path, each in before.items()
    }


def test_halves_of_a_layer_and_the_layer_itself_are_one_too_many(tmp_path: Path) -> None:
    dense = {
        "num_local_experts": None,
        "num_experts_per_tok": None,
        "shared_intermediate_size": 96,
    }
    model = bare_model("granitemoehybrid", **dense)
    outputs, inputs = modules_of(model)["model.layers.1.mlp.up_proj"].weight.shape
    sizes = {
        "model.layers.1.mlp.up_proj": (outputs, inputs),
        "model.layers.1.shared_mlp.input_linear": (2 * outputs, inputs),
    }
    adapter = build_peft_adapter(tmp_path, sizes, layers_to_transform=[1])

    assert "is for the same as" in refusal(adapter, model).message
