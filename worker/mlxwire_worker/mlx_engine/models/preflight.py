"""Checks a model folder before anything is loaded, and raises one typed error with a remedy.

mlx-lm raises raw errors (KeyError, RuntimeError, …), and it loads several kinds of bad folders
without an error and with wrong numbers (docs/engine-notes.md §2). No check reads tensor data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxwire_protocol import WireError

from .build_failures import explained
from .config.numbers import check_number_settings
from .model_files import check_files, failed, read_object, unsupported
from .quantization import check_quantization, with_modelopt
from .unserved import check_served
from .weight_files import check_index, check_shards, find_shards

_MODEL_TYPE = re.compile(r"[A-Za-z0-9_\-]+")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "tiktoken.model",
)


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A folder that passed all checks: its configs, its weight files and each tensor's dtype."""

    path: Path
    config: dict[str, Any]
    generation: dict[str, Any]
    shards: tuple[Path, ...]
    tensors: dict[str, str]

    @property
    def weight_bytes(self) -> int:
        """Return the size of all weight files, in bytes."""
        return sum(shard.stat().st_size for shard in self.shards)


def check_model(path: Path) -> CheckedModel:
    """Check a local model folder.

    Raises: WireError ``model_not_found``, ``unsupported_model`` or ``model_load_failed`` with
    ``data.reason`` and, if one file is at fault, ``data.file``.
    """
    if not path.exists():
        raise WireError(
            "model_not_found",
            f"there is no folder {str(path)!r}; give the path of a model folder",
            data={"path": str(path)},
        )
    if not path.is_dir():
        raise failed("not_a_folder", f"{str(path)!r} is a file; give the folder that holds it")
    check_files(path)
    config = _read_config(path)
    _check_architecture(config)
    check_number_settings(config)
    generation = path / "generation_config.json"
    if not any((path / name).exists() for name in _TOKENIZER_FILES):
        raise failed(
            "tokenizer",
            "the folder has no tokenizer; copy tokenizer.json from the model's source into it",
        )
    shards = find_shards(path)
    tensors = check_shards(shards)
    check_index(path, shards, tensors)
    check_quantization(with_modelopt(config, path), tensors)
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


def _check_architecture(config: dict[str, Any]) -> None:
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise failed(
            "no_model_type",
            "config.json has no `model_type`; copy it again from the model's source",
            file="config.json",
        )
    check_served(model_type)
    from mlx_lm.utils import _get_classes

    try:
        known = _MODEL_TYPE.fullmatch(model_type) is not None and bool(_get_classes(config))
    except (ValueError, AttributeError, TypeError) as error:
        if isinstance(error.__cause__, ImportError) and _lacks_a_package(error.__cause__):
            raise explained(error.__cause__, "import", model_type) from None
        known = False
    except (Exception, SystemExit) as error:  # a module may do anything when it is imported
        raise explained(error, "import", model_type) from None
    if not known:
        raise unsupported(
            "unknown_architecture",
            f"mlx-lm does not know the architecture {model_type[:80]!r}; install a newer mlx-lm or "
            "use another model",
            model_type=model_type[:80],
        )


def _lacks_a_package(error: ImportError) -> bool:
    """Return True if mlx-lm has the architecture's module, but not a package that it imports."""
    return error.name is not None and not error.name.startswith("mlx_lm.models.")
