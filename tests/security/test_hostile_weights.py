"""A safetensors file, or the index of several, made to harm; and other numbers of the folder."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factories.damage import edit_json
from support.model_worker import Models, ModelWorker

from .hostile import Harm, assert_harmless, edit_header

DAMAGED = ("model_load_failed", "damaged_shard")
FIT = ("model_load_failed", "weights_do_not_fit")
MISSING = ("model_load_failed", "missing_shard")
LONG = "q" * 20_000_000


def content(raw: bytes) -> Harm:
    return lambda path: (path / "model.safetensors").write_bytes(raw)


def entry(**fields: object) -> Harm:
    """Change the entry of the first tensor."""

    def change(text: str) -> str:
        header = json.loads(text)
        header[next(name for name in header if name != "__metadata__")].update(fields)
        return json.dumps(header)

    return lambda path: edit_header(path, change)


def header(edit: Callable[[Any], object]) -> Harm:
    def change(text: str) -> str:
        value = json.loads(text)
        edit(value)
        return json.dumps(value)

    return lambda path: edit_header(path, change)


def text(raw: str) -> Harm:
    return lambda path: edit_header(path, lambda _: raw)


def index(weight_map: object) -> Harm:
    file = "model.safetensors.index.json"
    return lambda path: (path / file).write_text(json.dumps({"weight_map": weight_map}))


def _move_the_last(value: Any) -> None:
    last = max(value, key=lambda name: value[name].get("data_offsets", [0])[-1])
    value[last]["data_offsets"] = [offset + 4096 for offset in value[last]["data_offsets"]]


HARMS: dict[str, tuple[Harm, tuple[str, str]]] = {
    "nothing": (content(b""), DAMAGED),
    "three bytes": (content(b"abc"), DAMAGED),
    "a header of 0": (content(struct.pack("<Q", 0)), DAMAGED),
    "a header of 2^63": (content(struct.pack("<Q", 2**63) + b"{}"), DAMAGED),
    "a header of 2^64-1": (content(struct.pack("<Q", 2**64 - 1) + b"{}"), DAMAGED),
    "a header past the end": (content(struct.pack("<Q", 64 << 20) + b"{}"), DAMAGED),
    "a header of blanks": (content(struct.pack("<Q", 64 << 20) + b" " * (64 << 20)), DAMAGED),
    "a header that is a list": (text("[1]"), DAMAGED),
    "a deep header": (text('{"a":' * 50_000 + "1" + "}" * 50_000), DAMAGED),
    "a hole": (header(_move_the_last), DAMAGED),
    "offsets in reverse": (entry(data_offsets=[512, 0]), DAMAGED),
    "offsets of 2^63": (entry(data_offsets=[2**63, 2**64 - 1]), DAMAGED),
    "offsets past 64 bits": (entry(data_offsets=[2**70, 2**71]), DAMAGED),
    "negative offsets": (entry(data_offsets=[-8, 8]), DAMAGED),
    "offsets with a point": (entry(data_offsets=[0.0, 1.5]), DAMAGED),
    "one offset": (entry(data_offsets=[0]), DAMAGED),
    "a shape that overflows": (entry(shape=[2**32] * 3), DAMAGED),
    "a shape of nothing": (entry(shape=[0], data_offsets=[0, 0]), DAMAGED),
    "a negative shape": (entry(shape=[-1]), DAMAGED),
    "a shape of ones": (entry(shape=[1] * 100_000), DAMAGED),
    "an unknown dtype": (entry(dtype=LONG), DAMAGED),
    "metadata of objects": (header(lambda h: h.update(__metadata__={"a": {"b": 1}})), DAMAGED),
    "a name like a path": (header(lambda h: h.update({"../../x\0": h.pop(list(h)[-1])})), FIT),
    "a name of 20 MB": (header(lambda h: h.update({LONG: h.pop(list(h)[-1])})), FIT),
    "a name above": (index({"model.norm.weight": "../outside.safetensors"}), MISSING),
    "a name from the root": (index({"model.norm.weight": "/etc/hostname"}), MISSING),
    "a name of nothing": (index({"model.norm.weight": ""}), MISSING),
    "a shard of 20 MB": (index({"model.norm.weight": LONG}), MISSING),
    "half a character": (index({"model.norm.weight": "\ud800"}), MISSING),
    "a tensor of 20 MB": (
        index({LONG: "model.safetensors"}),
        ("model_load_failed", "missing_tensor"),
    ),
    "an index of lists": (index([["a"]]), ("model_load_failed", "invalid_index")),
    "an index of numbers": (index({"a": 5}), ("model_load_failed", "invalid_index")),
}


@pytest.mark.parametrize("kind", HARMS)
def test_a_harmful_weight_file_is_one_typed_error(
    loaded: ModelWorker, folder: Path, kind: str
) -> None:
    harm, (code, reason) = HARMS[kind]
    harm(folder)

    assert_harmless(loaded, folder, code, reason)


NUMBERS = [
    *("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"),
    *("num_hidden_layers", "head_dim", "vocab_size", "rms_norm_eps", "rope_theta"),
    *("max_position_embeddings", "eos_token_id", "bos_token_id", "rope_scaling"),
    *("tie_word_embeddings", "attention_bias", "hidden_act", "torch_dtype", "text_config"),
]
ODD = ["64", None, -1, 0, 10**18, 1e300, float("nan"), [{"a": 1}], {"a": 1}, True, 2.5, LONG]


@pytest.mark.parametrize("name", NUMBERS)
def test_no_value_in_a_config_is_the_workers_own_fault(
    worker: ModelWorker, folder: Path, name: str
) -> None:
    """Check that each folder loads and answers, or is refused as the folder's fault."""
    config = json.loads((folder / "config.json").read_text())
    for value in ODD:
        (folder / "config.json").write_text(json.dumps({**config, name: value}))
        loaded = worker.ask("load", path=str(folder), warmup=False)
        if loaded["type"] == "error":
            assert loaded["error"]["code"] in ("model_load_failed", "unsupported_model")
            continue
        final = worker.ask("generate", prompt="a b", max_tokens=2)
        assert final["type"] == "done" or final["error"]["code"] != "internal", (value, final)
    worker.ask("unload")


@pytest.mark.parametrize("value", ["64", None, -1, 0, [1], {"a": 1}, 2.5], ids=str)
def test_a_window_that_is_no_number_is_the_folders_fault(
    worker: ModelWorker, models: Models, tmp_path: Path, value: object
) -> None:
    """Check a value that is used only where the caches are made, after the model.

    A text or an object is refused earlier, by the name of its setting.
    """
    path = tmp_path / "model"
    shutil.copytree(models("gemma3"), path)
    edit_json(path / "config.json", lambda config: config.update(sliding_window=value))

    error = worker.refusal("load", path=str(path))

    told = (error["code"], error["data"]["reason"])
    assert told == (
        ("model_load_failed", "invalid_config") if value in ("64", {"a": 1}) else FIT
    )
