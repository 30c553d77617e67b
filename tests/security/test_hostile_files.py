"""A model folder made to harm: one typed error, in bounded memory, and no code is run.

What is merely broken is in `worker/mlx_engine/models/test_broken_models.py`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from factories import build_adapter
from factories.damage import edit_config, edit_json
from support.model_worker import Models, ModelWorker
from support.processes import resident_bytes

from .hostile import (
    MOST_BYTES,
    Harm,
    assert_harmless,
    edit_header,
    set_pattern,
)


def repeat_a_name(header: str) -> str:
    first = next(name for name in json.loads(header) if name != "__metadata__")
    entry = json.dumps(json.loads(header)[first])
    return f'{header[:-1]},"{first}":{entry}}}'


def nest(path: Path, name: str) -> None:
    (path / name).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)


def outgrow(path: Path, name: str) -> None:
    with (path / name).open("r+b") as file:
        file.truncate(200 << 20)


def name_a_shard_outside(path: Path) -> None:
    shutil.copy(path / "model.safetensors", path.parent / "outside.safetensors")
    index = {"weight_map": {"model.norm.weight": "../outside.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


FIT = ("model_load_failed", "weights_do_not_fit")
NUMBER = ("model_load_failed", "invalid_config")
HARMS: dict[str, tuple[Harm, tuple[str, str]]] = {
    **{
        f"layers {number}": (lambda p, n=number: edit_config(p, num_hidden_layers=n), NUMBER)
        for number in (10**9, 10**12, 10**30, 1e300, 2.5, float("nan"), [3], -1, 0)
    },
    **{
        f"{name} {number}": (lambda p, n=name, v=number: edit_config(p, **{n: v}), NUMBER)
        for name in ("hidden_size", "vocab_size", "num_attention_heads", "head_dim")
        for number in (10**12, -64, float("nan"), "64")
    },
    "rope theta": (lambda p: edit_config(p, rope_theta={"a": 1}), NUMBER),
    "digits": (
        lambda p: (p / "config.json").write_text(
            '{"model_type":"qwen3","a":' + "9" * 5000 + "}"
        ),
        ("model_load_failed", "invalid_json"),
    ),
    "deep config": (
        lambda p: nest(p, "config.json"),
        ("model_load_failed", "invalid_json"),
    ),
    "deep tokenizer": (
        lambda p: nest(p, "tokenizer.json"),
        ("model_load_failed", "tokenizer"),
    ),
    "deep tokenizer config": (
        lambda p: nest(p, "tokenizer_config.json"),
        ("model_load_failed", "tokenizer"),
    ),
    "large config": (lambda p: outgrow(p, "config.json"), ("model_load_failed", "too_large")),
    "large tokenizer": (
        lambda p: outgrow(p, "tokenizer.json"),
        ("model_load_failed", "too_large"),
    ),
    "pattern that does not compile": (
        lambda p: edit_json(p / "tokenizer.json", lambda t: set_pattern(t, "(" * 100_000)),
        ("model_load_failed", "tokenizer"),
    ),
    "shard outside": (name_a_shard_outside, ("model_load_failed", "missing_shard")),
    "data past the end": (
        lambda p: edit_header(p, lambda h: h.replace('"data_offsets":[', '"data_offsets":[9')),
        ("model_load_failed", "damaged_shard"),
    ),
    "shape that overflows": (
        lambda p: edit_header(p, lambda h: h.replace('"shape":[', '"shape":[4294967296,', 1)),
        ("model_load_failed", "damaged_shard"),
    ),
    "other dtype": (
        lambda p: edit_header(p, lambda h: h.replace('"F32"', '"F64"', 1)),
        ("model_load_failed", "damaged_shard"),
    ),
    "integers for weights": (
        lambda p: edit_header(p, lambda h: h.replace('"F32"', '"I32"')),
        FIT,
    ),
    "a name twice": (
        lambda p: edit_header(p, repeat_a_name),
        ("model_load_failed", "damaged_shard"),
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmful_folder_is_one_typed_error(
    loaded: ModelWorker, folder: Path, harm: str
) -> None:
    apply, (code, reason) = HARMS[harm]
    apply(folder)

    assert_harmless(loaded, folder, code, reason)


def test_a_pattern_that_backtracks_ends_one_request_and_no_more(folder: Path) -> None:
    edit_json(folder / "tokenizer.json", lambda t: set_pattern(t, "(a+)+$"))
    with ModelWorker() as fresh:
        fresh.load(str(folder))
        for _ in range(2):
            error = fresh.refusal("generate", prompt="a" * 40 + "!", max_tokens=1)
            assert (error["code"], error["data"]) == (
                "unsupported_model",
                {"reason": "tokenizer"},
            )
        assert fresh.ask("generate", prompt="b", max_tokens=1)["type"] == "done"


# -- code ----------------------------------------------------------------------------------


def test_no_code_of_a_folder_is_run(folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w').close()\n"
    names = ("modeling_evil", "tokenization_evil", "qwen3", "sitecustomize", "json", "conftest")
    for name in (*names, "__init__"):
        (folder / f"{name}.py").write_text(code)
    mapped = {
        "AutoModel": "modeling_evil.Model",
        "AutoTokenizer": ["tokenization_evil.T", None],
    }
    edit_config(folder, auto_map=mapped, custom_pipelines={"x": {"impl": "modeling_evil.P"}})
    edit_json(
        folder / "tokenizer_config.json",
        lambda t: t.update(auto_map=mapped, tokenizer_class="tokenization_evil.T"),
    )
    for name in ("pytorch_model.bin", "model.pt", "training_args.bin", "adapters.npz"):
        # pickle's own machine code for a call of open(ran, "w")
        (folder / name).write_bytes(b"cbuiltins\nopen\n(V" + str(ran).encode() + b"\nVw\ntR.")
    with ModelWorker() as fresh:
        fresh.load(str(folder))
        fresh.chat([{"role": "user", "content": "x"}], max_tokens=1)

    assert not ran.exists()
    assert not list(folder.glob("__pycache__"))


def test_older_tokenizer_files_run_no_code_either(folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (folder / "tokenization_evil.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    edit_json(
        folder / "tokenizer_config.json",
        lambda t: t.update(
            tokenizer_class="EvilTokenizer",
            auto_map={"AutoTokenizer": ["tokenization_evil.EvilTokenizer", None]},
        ),
    )
    with ModelWorker() as fresh:
        assert fresh.refusal("load", path=str(folder))["data"]["reason"] == "tokenizer"

    assert not ran.exists()


# -- adapters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        {"num_layers": 10**12},
        {"num_layers": "x"},
        {"num_layers": -1},
        {"lora_parameters": {"rank": 10**12, "scale": 1.0, "dropout": 0.0}},
        {"lora_parameters": {"rank": -8, "scale": 1.0, "dropout": 0.0}},
        {"lora_parameters": {"rank": 8, "scale": "x", "dropout": []}},
        {"lora_parameters": [1]},
        {"lora_parameters": {"keys": 5, "rank": 8, "scale": 1.0, "dropout": 0.0}},
        {"fine_tune_type": {"a": 1}},
    ],
    ids=str,
)
def test_a_harmful_adapter_is_one_typed_error(
    loaded: ModelWorker, models: Models, tmp_path: Path, edit: dict[str, object]
) -> None:
    adapter = build_adapter(models("qwen3"), tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", lambda config: config.update(edit))
    before = resident_bytes(loaded.process.pid)

    final = loaded.ask("load", path=str(models("qwen3")), adapter_path=str(adapter))

    assert resident_bytes(loaded.process.pid) - before < MOST_BYTES
    assert final["type"] == "error", final
    assert (final["error"]["code"], final["error"]["data"]["reason"]) == (
        "model_load_failed",
        "adapter",
    )
