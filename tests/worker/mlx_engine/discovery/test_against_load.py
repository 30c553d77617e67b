"""Every item of a tree with whole and broken models says what a load of the folder says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factories import BROKEN, FAMILIES, build_broken
from factories.damage import edit_config
from support.conversation import Message
from support.model_worker import Models, ModelWorker

from ..models.test_unserved_models import add_tensor
from .forms import FORMS, QUANTIZED, write_quantized

SAME = (
    "pooling",
    *("model_type", "vocab_size", "layers", "hidden_size", "context_len", "parameters", "path"),
    *("quant_bits", "quant_group", "quant_mode", "chat_template"),
)
IN_OTHER_WORDS = {
    # The same code and reason, and a message that does not quote what MLX or a library says.
    *("invalid_tokenizer_json", "missing_config_field", "foreign_shard"),
    *("more layers", "another vocabulary", "another width"),
}
BUILT_ONLY = {
    # Only the modules of the model, the whole tokenizer or a render tell of these.
    *("shape_mismatch", "broken_chat_template"),
    *("heads is zero", "unused setting", "tokenizer with a wrong part"),
}


def spoil(change: Callable[[Path], object]) -> Callable[[Path, Path], Path]:
    def build(source: Path, folder: Path) -> Path:
        shutil.copytree(source, folder)
        change(folder)
        return folder

    return build


def write(name: str, content: bytes) -> Callable[[Path, Path], Path]:
    return spoil(lambda folder: (folder / name).write_bytes(content))


def lose(file: Path, target: str = "nowhere") -> None:
    file.unlink()
    file.symlink_to(target)


def rename(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)


def add_typed_tensor(folder: Path, dtype: str, size: int) -> None:
    """Add a tensor of one number to a file of weights."""
    content = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8:start]), content[start:]
    place = [len(data), len(data) + size]
    header["extra.weight"] = {"dtype": dtype, "shape": [1], "data_offsets": place}
    text = json.dumps(header).encode()
    length = len(text).to_bytes(8, "little")
    (folder / "model.safetensors").write_bytes(length + text + data + bytes(size))


def name_a_pickle(folder: Path) -> None:
    (folder / "extra.bin").write_bytes(b"no weights")
    index = {"weight_map": {"a": "extra.bin", "b": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


FURTHER = {
    "heads is zero": spoil(lambda folder: edit_config(folder, num_attention_heads=0)),
    "more layers": spoil(lambda folder: edit_config(folder, num_hidden_layers=5)),
    "another vocabulary": spoil(lambda folder: edit_config(folder, vocab_size=1000)),
    "another width": spoil(lambda folder: edit_config(folder, hidden_size=128)),
    "layers is a text": spoil(lambda folder: edit_config(folder, num_hidden_layers="2")),
    "unused setting": spoil(lambda folder: edit_config(folder, attn_logit_softcapping=30.0)),
    "model file": spoil(lambda folder: edit_config(folder, model_file="evil.py")),
    "gptq": spoil(lambda f: edit_config(f, quantization_config={"quant_method": "gptq"})),
    "awq of 8 bits": spoil(
        lambda f: edit_config(f, quantization_config={"quant_method": "awq", "bits": 8})
    ),
    "classification head": spoil(lambda folder: add_tensor(folder, "score.weight")),
    "config is empty": write("config.json", b""),
    "config has a byte order mark": write("config.json", b"\xef\xbb\xbf{}"),
    "weights are empty": write("model.safetensors", b""),
    "weights are a pointer": write(
        "model.safetensors",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    ),
    "weights are a page": write("model.safetensors", b"<!DOCTYPE html><title>404</title>"),
    "index is a list": write("model.safetensors.index.json", b"[]"),
    "tokenizer with a wrong part": write("tokenizer.json", b'{"model": {"type": "no"}}'),
    "template is no text": write("chat_template.jinja", b"\xff"),
    "generation settings are cut": write("generation_config.json", b"{"),
    **{
        f"{name} is no JSON": write(name, b"[1,")
        for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    },
    **{
        f"{name} leads nowhere": spoil(lambda folder, name=name: lose(folder / name))  # type: ignore[misc]
        for name in ("config.json", "generation_config.json", "tokenizer_config.json")
    },
    "config is a circle": spoil(lambda folder: lose(folder / "config.json", "config.json")),
    "tokenizer is empty": write("tokenizer.json", b""),
    "tokenizer has a byte order mark": write("tokenizer.json", b"\xef\xbb\xbf{}"),
    "tokenizer is a pointer": write(
        "tokenizer.json", b"version https://git-lfs.github.com/spec/v1\n"
    ),
    "weights have no tensor": write("model.safetensors", bytes([2, *bytes(7)]) + b"{}"),
    "weights are a sentence": write("model.safetensors", b"Entry not found"),
    "weights in another dtype": spoil(lambda folder: add_typed_tensor(folder, "F64", 8)),
    "weights in another 8-bit float": spoil(
        lambda folder: add_typed_tensor(folder, "F8_E5M2", 1)
    ),
    "one of two files": spoil(
        lambda folder: rename(folder, "model-00001-of-00002.safetensors")
    ),
    "an unfinished file": spoil(lambda folder: rename(folder, "model.safetensors.incomplete")),
    "a file of another name": spoil(lambda folder: rename(folder, "weights.safetensors")),
    "an ONNX file": spoil(lambda folder: rename(folder, "model.onnx")),
    "a file of Flax": spoil(lambda folder: rename(folder, "flax_model.msgpack")),
    "a pickle in the index": spoil(name_a_pickle),
    "architectures is a number": spoil(lambda folder: edit_config(folder, architectures=5)),
    "architectures has an object": spoil(
        lambda folder: edit_config(folder, architectures=[{}])
    ),
    "layers is zero": spoil(lambda folder: edit_config(folder, num_hidden_layers=0)),
    "layers is half a number": spoil(lambda folder: edit_config(folder, num_hidden_layers=1.5)),
    "layers is true": spoil(lambda folder: edit_config(folder, num_hidden_layers=True)),
    "heads is an object": spoil(lambda folder: edit_config(folder, num_attention_heads={})),
}
REASONS = {
    "config.json leads nowhere": "unreadable",
    "config is a circle": "unreadable",
    "tokenizer is a pointer": "tokenizer",
    "weights have no tensor": "no_weights",
    "weights are a sentence": "damaged_shard",
    "weights in another dtype": "weight_format",
    "one of two files": "missing_shard",
    "an unfinished file": "no_weights",
    "an ONNX file": "weight_format",
    "a pickle in the index": "invalid_index",
    "architectures is a number": "invalid_config",
    "layers is zero": "invalid_config",
}


@pytest.fixture(scope="module")
def tree(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, source = tmp_path_factory.mktemp("tree"), models("qwen3")
    for family in FAMILIES:
        for quantized in (False, True):
            name = f"{family} {'4 bits' if quantized else 'plain'}"
            (root / "whole" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(models(family, quantized), root / "whole" / name)
    for name, settings in QUANTIZED.items():
        write_quantized(source, root / "whole" / name, **{"mode": "affine", **settings})
    for name, form in FORMS.items():
        form(source, root / "whole" / name)
    for kind in BROKEN:
        build_broken(kind, root / "broken" / kind)
    for name, build in FURTHER.items():
        build(source, root / "broken" / name)
    return root


@pytest.fixture(scope="module")
def said(worker: ModelWorker, tree: Path) -> dict[str, Message]:
    """Return the final of a load of each folder."""
    folders = [*(tree / "whole").iterdir(), *(tree / "broken").iterdir()]
    assert len(folders) > 60
    return {
        str(folder): worker.ask("load", path=str(folder), warmup=False, compute_dtype="stored")
        for folder in folders
    }


def discovered(worker: ModelWorker, tree: Path, **options: Any) -> dict[str, Message]:
    request = worker.send("discover", paths=[str(tree)], **options)
    assert worker.final(request)["type"] == "done"
    items = [each for each in worker.messages[request] if each["type"] == "item"]
    assert [each["index"] for each in items] == list(range(len(items)))
    return {each["path"]: each for each in items}


@pytest.mark.parametrize("check", ["headers", "full"])
def test_each_item_says_what_a_load_says(
    worker: ModelWorker, tree: Path, said: dict[str, Message], check: str
) -> None:
    items = discovered(worker, tree, check=check)

    assert items.keys() == said.keys()
    for path, item in items.items():
        name, answer = Path(path).name, said[path]
        assert item["name"] == name
        if check == "headers" and name in BUILT_ONLY:
            assert "error" not in item
        elif answer["type"] == "error":
            told, right = item.get("error"), answer["error"]
            assert told, name
            assert (told["code"], told["data"]) == (right["code"], right["data"]), name
            if check == "full" or name not in IN_OTHER_WORDS:
                assert told == right, name
        else:
            assert "error" not in item, item
            assert {f: item[f] for f in SAME} == {f: answer[f] for f in SAME}, name
            stored = answer["weight_bytes"]
            assert (item["weight_bytes"], item["dtype_bytes"]["stored"]) == (stored, stored)
            known = answer["capabilities"]
            shared = item["capabilities"].keys() & known.keys()
            assert shared >= {
                "chat",
                "tools",
                "thinking",
                "thoughts",
                "embed",
                "rerank",
                "score",
            }
            assert {c: item["capabilities"][c] for c in shared} == {
                c: known[c] for c in shared
            }, name


@pytest.mark.parametrize("name", ["qwen3 plain", "mxfp8", "narrow in three files"])
def test_the_bytes_of_each_dtype_are_those_that_a_load_in_it_holds(
    worker: ModelWorker, tree: Path, name: str
) -> None:
    path = tree / "whole" / name
    (item,) = discovered(worker, path).values()

    for dtype in ("float32", "bfloat16", "float16"):
        held = worker.ask("load", path=str(path), warmup=False, compute_dtype=dtype)
        assert item["dtype_bytes"][dtype] == held["weight_bytes"], dtype
    held = worker.ask("load", path=str(path), warmup=False)
    assert item["dtype_bytes"][item["compute_dtype"]] == held["weight_bytes"]


def test_the_reason_of_a_broken_folder_is_the_one_to_mend(
    said: dict[str, Message], tree: Path
) -> None:
    errors = {name: said[str(tree / "broken" / name)]["error"] for name in REASONS}

    assert {name: error["data"]["reason"] for name, error in errors.items()} == REASONS
    assert "unfinished download" in errors["an unfinished file"]["message"]
    assert "git lfs pull" in errors["tokenizer is a pointer"]["message"]
    assert "model-00002-of-00002" in errors["one of two files"]["message"]
