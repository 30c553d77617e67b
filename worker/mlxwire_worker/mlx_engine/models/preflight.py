"""Checks a model folder before anything is loaded, and raises one typed error with a remedy.

mlx-lm raises raw errors (KeyError, RuntimeError, …), and it loads several kinds of bad folders
without an error and with wrong numbers (docs/engine-notes.md §2). No check reads tensor data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..encoders.families import is_encoder
from .config.architectures import check_architecture
from .config.numbers import check_number_settings
from .model_files import (
    TOKENIZER_FILES,
    check_files,
    check_folder_exists,
    check_tokenizer_files,
    failed,
    read_object,
    unsupported,
)
from .quantization import check_quantization, with_modelopt
from .safetensors_header import StoredTensor
from .unserved import check_head
from .weight_files import check_index, check_shards, find_shards


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A folder that passed all checks: its configs, its weight files and their tensors."""

    path: Path
    config: dict[str, Any]
    generation: dict[str, Any]
    shards: tuple[Path, ...]
    tensors: dict[str, StoredTensor]

    @property
    def weight_bytes(self) -> int:
        """Return the size of all weight files, in bytes."""
        return sum(shard.stat().st_size for shard in self.shards)


def check_model(path: Path) -> CheckedModel:
    """Check a local model folder, and that mlx-lm's module for its architecture can be imported.

    Raises: as `check_folder`.
    """
    checked = check_folder(path)
    if not is_encoder(checked.config):
        _import_architecture(checked.config)
    return checked


def check_folder(path: Path) -> CheckedModel:
    """Check a local model folder by its JSON files and the headers of its weights, without MLX.

    Raises: WireError ``model_not_found``, ``unsupported_model`` or ``model_load_failed`` with
    ``data.reason`` and, if one file is at fault, ``data.file``.
    """
    check_folder_exists(path, "a model folder")
    check_files(path)
    config = _read_config(path)
    check_architecture(config)
    check_number_settings(config)
    generation = path / "generation_config.json"
    if not any((path / name).exists() for name in TOKENIZER_FILES):
        raise failed(
            "tokenizer",
            "the folder has no tokenizer; copy tokenizer.json from the model's source into it",
        )
    shards = find_shards(path)
    tensors = check_shards(shards)
    check_index(path, shards, tensors)
    if not is_encoder(config):
        check_head(config, tensors)
    check_quantization(with_modelopt(config, path), tensors)
    check_tokenizer_files(path)
    return CheckedModel(
        path=path,
        config=config,
        generation=read_object(generation) if generation.exists() else {},
        shards=shards,
        tensors=tensors,
    )


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.exists():
        raise failed(
            "no_config",
            f"the folder {path.name!r} has no config.json; give a folder that holds config.json "
            "and the weights",
            file=file.name,
        )
    config = read_object(file)
    if config.get("model_file") is not None:
        raise unsupported(
            "remote_code",
            "config.json names a `model_file`, which is code; the worker runs no code from a "
            "model folder. Use a model whose architecture mlx-lm knows",
        )
    return config


def _import_architecture(config: dict[str, Any]) -> None:
    """Import the module of an architecture: it may lack a package, or do anything else."""
    from mlx_lm.utils import _get_classes

    from .build_failures import explained

    try:
        _get_classes(config)
    except (Exception, SystemExit) as error:
        cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
        raise explained(cause, "import", config["model_type"]) from None
