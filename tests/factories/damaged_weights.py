"""Broken weights: shards and index that disagree, and safetensors headers that lie."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

from .damage import damage, edit_json

_SECOND_OF_TWO = "model-00002-of-00002.safetensors"


@damage("no_weights", "there is no weight file at all")
def _no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


@damage("pickle_weights", "the only weights are a pickle, pytorch_model.bin")
def _pickle_weights(model: Path) -> None:
    _no_weights(model)
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({"model.norm.weight": [1.0]}))


@damage("missing_shard", "the index names two shards, and the second is not there", shards=2)
def _missing_shard(model: Path) -> None:
    (model / _SECOND_OF_TWO).unlink()


@damage(
    "phantom_shard",
    "the index names a third shard that is not there, though two hold every tensor",
    shards=2,
)
def _phantom_shard(model: Path) -> None:
    absent = {"model.layers.3.mlp.up_proj.weight": "model-00003-of-00003.safetensors"}
    edit_json(
        model / "model.safetensors.index.json", lambda index: index["weight_map"].update(absent)
    )


@damage("truncated_shard", "the second shard ends 100 bytes early", shards=2)
def _truncated_shard(model: Path) -> None:
    shard = model / _SECOND_OF_TWO
    shard.write_bytes(shard.read_bytes()[:-100])


@damage(
    "foreign_shard",
    "the weights are GPT-2's by name: all are extra, and all of the model's are missing",
)
def _foreign_shard(model: Path) -> None:
    names = ("wte.weight", "h.0.attn.c_attn.weight", "h.0.attn.c_proj.weight", "ln_f.weight")
    mx.save_safetensors(
        str(model / "model.safetensors"), {name: mx.ones((64, 64)) for name in names}
    )


@damage(
    "stale_extra_shard",
    "a model.safetensors outside the index holds another model.norm.weight: the last read wins",
    shards=2,
)
def _stale_extra_shard(model: Path) -> None:
    mx.save_safetensors(
        str(model / "model.safetensors"), {"model.norm.weight": mx.zeros((64,))}
    )


@damage("shape_mismatch", "model.norm.weight has twice the elements that the config asks for")
def _shape_mismatch(model: Path) -> None:
    file = str(model / "model.safetensors")
    weights = mx.load(file)
    assert isinstance(weights, dict)
    weights["model.norm.weight"] = mx.ones((128,))
    mx.eval(weights)
    mx.save_safetensors(file, weights)


@damage("huge_header", "the safetensors header claims 2^60 bytes")
def _huge_header(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 2**60) + file.read_bytes()[8:])


@damage("negative_offsets", "a tensor's data starts 8 bytes before the data begins")
def _negative_offsets(model: Path) -> None:
    _edit_header(model, lambda header: _shift(header, first=True, by=-8))


@damage("overlapping_offsets", "the last tensor's data overlaps the one before by 8 bytes")
def _overlapping_offsets(model: Path) -> None:
    _edit_header(model, lambda header: _shift(header, first=False, by=-8))


def _shift(header: dict[str, Any], *, first: bool, by: int) -> None:
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    ordered = sorted(tensors, key=lambda entry: entry["data_offsets"])
    offsets = ordered[0 if first else -1]["data_offsets"]
    offsets[:] = [offset + by for offset in offsets]


def _edit_header(model: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the header of model.safetensors: 8 bytes of length, then JSON, then the data."""
    file = model / "model.safetensors"
    content = file.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
