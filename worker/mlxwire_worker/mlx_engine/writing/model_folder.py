"""Writes the files of a model folder: its weights, its config, and all that stands beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map
from mlx_lm.utils import make_shards, save_config

from ...process.durable import durable_file
from ...process.system_share import memory_bytes
from ..models.assembly import parameter_count, weight_bytes
from ..models.weight_files import INDEX

_WEIGHTS = frozenset(
    {
        *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz", ".gguf", ".ggml", ".onnx"),
        *(".onnx_data", ".h5", ".msgpack", ".ot", ".tflite", ".nemo", ".mlmodel", ".pkl"),
    }
)
"""Endings of weights, in forms that the new ones replace or that no engine over MLX reads."""
_NOT_COPIED = frozenset(
    {
        "config.json",
        *("hf_quant_config.json", "quantize_config.json", "quant_config.json"),
        "adapter_config.json",
    }
)
"""Files that describe the old weights, and would be wrong about the new ones."""
_TEMPLATES = "additional_chat_templates"
_MODULES = "modules.json"
SHARD_GIB = 5
"""The largest file of weights, as mlx-lm and the hub have it; a file is held in memory whole."""

OnTensor = Callable[[int, int, str], None]
"""Receives the number of tensors that are computed, of all, and the name of the last one."""


def write_tensors(file: Path, tensors: dict[str, mx.array], form: str = "mlx") -> None:
    """Write a safetensors file through Python: MLX's own writer does not tell why it failed.

    Raises: OSError.
    """
    with durable_file(file) as stream:
        mx.save_safetensors(stream, tensors, {"format": form})


def shard_gib() -> int:
    """Return the size of a file of weights in GiB, a small one where memory is short."""
    memory = memory_bytes()
    return SHARD_GIB if memory is None or memory > 4 * SHARD_GIB << 30 else 1


def write_weights(
    folder: Path,
    model: Any,
    on_tensor: OnTensor | None = None,
    stored_name: Callable[[str], str] = str,
) -> None:
    """Compute a model's weights one by one, and write them with their index.

    ``stored_name`` maps the name of a parameter to its name in the files. The model loses its weights, so
    that no more than one file of them is in memory. Raises: OSError; RuntimeError of MLX.
    """
    flat: Any = tree_flatten(model.parameters())
    total = {"total_size": weight_bytes(model), "total_parameters": parameter_count(model)}
    shards = make_shards({stored_name(name): array for name, array in flat}, shard_gib())
    count = len(flat)
    del flat
    model.update(tree_map(lambda _: mx.array([]), model.parameters()))
    places: dict[str, str] = {}
    for number in range(len(shards)):
        tensors, shards[number] = shards[number], None
        several = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        name = several if len(shards) > 1 else "model.safetensors"
        for key in tensors:
            mx.eval(tensors[key])
            places[key] = name
            if on_tensor is not None:
                on_tensor(len(places), count, key)
        write_tensors(folder / name, tensors)
        del tensors
        mx.clear_cache()
    with durable_file(folder / INDEX) as stream:
        index = {"metadata": total, "weight_map": dict(sorted(places.items()))}
        stream.write(json.dumps(index, indent=4).encode() + b"\n")


def write_config(folder: Path, model: Any, config: dict[str, Any]) -> None:
    """Write config.json. As mlx-lm: of most models that see images only the language model is saved.

    Raises: OSError.
    """
    save_config(dict(config), folder / "config.json", keep_vision_config=sees(model))


def sees(model: Any) -> bool:
    """Return True if a model was built with the part that sees images."""
    return "vision_tower" in getattr(model, "model", {})


def copy_side_files(source: Path, folder: Path) -> None:
    """Copy all but the weights: the tokenizer, the templates, the licence, sentence-transformers' modules.

    Raises: OSError.
    """
    for file in side_files(source):
        target = folder / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def side_bytes(source: Path) -> int:
    """Return the bytes of the files that stay. Raises: OSError."""
    return sum(file.stat().st_size for file in side_files(source))


def side_files(source: Path) -> Iterator[Path]:
    """Yield the files of a model folder that stay as they are when its weights change.

    These are the regular files of the folder itself that are no weights, the further chat
    templates, and the folders that sentence-transformers' modules.json names, with their weights.
    """
    for file in sorted(source.iterdir()):
        changes = file.suffix.lower() in _WEIGHTS or file.name.endswith(".index.json")
        hidden = file.name.startswith(".")
        if not changes and not hidden and file.name not in _NOT_COPIED and file.is_file():
            yield file
    yield from sorted((source / _TEMPLATES).glob("*.jinja"))
    for name in _module_folders(source):
        for file in sorted((source / name).rglob("*")):
            if file.is_file():
                yield file


def _module_folders(source: Path) -> Iterator[str]:
    """Yield the names of the folders that sentence-transformers' modules lie in."""
    listed: Any = None
    with suppress(OSError, ValueError, RecursionError):  # a load says what is wrong with it
        listed = json.loads((source / _MODULES).read_text("utf-8"))
    for module in listed if isinstance(listed, list) else []:
        name = module.get("path") if isinstance(module, dict) else None
        if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
            continue
        if (source / name).is_dir() and not (source / name).is_symlink():
            yield name
