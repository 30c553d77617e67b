"""Writes folders that look like models and hold no numbers: JSON files, headers, and empty data.

The data of the weights are holes, so that even a large model takes no room on the disk.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WIDTH, LAYERS, VOCABULARY = 64, 2, 128
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "num_hidden_layers": LAYERS,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "vocab_size": VOCABULARY,
    "tie_word_embeddings": True,
}
Shapes = Mapping[str, tuple[str, Sequence[int]]]
_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "U32": 4, "U8": 1, "I32": 4, "F8_E4M3": 1}


def llama_shapes(layers: int = LAYERS, dtype: str = "BF16") -> dict[str, tuple[str, list[int]]]:
    """Return dtype and shape of each tensor of a small Llama."""
    shapes = {"model.embed_tokens.weight": [VOCABULARY, WIDTH], "model.norm.weight": [WIDTH]}
    for n in range(layers):
        at = f"model.layers.{n}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            shapes[f"{at}.self_attn.{name}.weight"] = [WIDTH, WIDTH]
        for name in ("gate_proj", "up_proj"):
            shapes[f"{at}.mlp.{name}.weight"] = [2 * WIDTH, WIDTH]
        shapes[f"{at}.mlp.down_proj.weight"] = [WIDTH, 2 * WIDTH]
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{at}.{name}.weight"] = [WIDTH]
    return {name: (dtype, shape) for name, shape in shapes.items()}


def write_weights(file: Path, shapes: Shapes, *, missing_bytes: int = 0) -> None:
    """Write a safetensors file, whose data are a hole and end ``missing_bytes`` early."""
    header, end = {}, 0
    for name, (dtype, shape) in shapes.items():
        size = _BYTES[dtype]
        for number in shape:
            size *= number
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with file.open("wb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        opened.truncate(8 + len(text) + end - missing_bytes)


def write_model(
    folder: Path, shapes: Shapes | None = None, *, files: int = 1, **config: Any
) -> Path:
    """Write a model's folder; several files of weights come with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = llama_shapes() if shapes is None else shapes
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "tokenizer.json").write_text("{}")
    if files == 1:
        write_weights(folder / "model.safetensors", shapes)
        return folder
    names = sorted(shapes)
    weight_map = {}
    for n in range(files):
        file = f"model-{n + 1:05d}-of-{files:05d}.safetensors"
        part = {name: shapes[name] for name in names[n::files]}
        write_weights(folder / file, part)
        weight_map.update(dict.fromkeys(part, file))
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_snapshot(
    cache: Path, repository: str, revision: str, *, main: bool = True, **options: Any
) -> Path:
    """Write one revision of a repository as the hub's cache holds it: links to blobs."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / revision
    plain = write_model(folder / "plain", **options)
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir(exist_ok=True)
    for file in plain.iterdir():
        blob = folder / "blobs" / f"{revision}-{file.name}"
        file.rename(blob)
        (snapshot / file.name).symlink_to(os.path.join("..", "..", "blobs", blob.name))
    plain.rmdir()
    if main:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(revision)
    return snapshot
