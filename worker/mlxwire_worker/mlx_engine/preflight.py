"""Looks a model folder over before anything is loaded: one typed error, with the remedy.

mlx-lm's own errors are raw (KeyError, RuntimeError, …), and several bad folders it loads
silently with wrong numbers (ENGINE.md §2). Nothing here reads tensor data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from mlxwire_protocol import WireError

MOST_UNCHECKED = 1024
"""So many of a thing are harmless, whatever the weights are."""
_MODEL_TYPE = re.compile(r"[A-Za-z0-9_\-]+")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "tiktoken.model",
)
_READ_WHOLE = frozenset({".json", ".jinja", ".txt", ".model"})
_MAX_READ_BYTES = 128 << 20
"""Of a file that is read as a whole; the largest tokenizers have 40 MB."""
_COUNT = re.compile(r"(?:^|_)(?:layers?|blocks?|experts?|heads?|depth)(?:_|$)")
"""Names of numbers that an architecture counts to when it is built, one Python object each."""
SUPPORTED_QUANT_METHODS = frozenset(
    {"bitnet", "mxfp4", "mxfp8", "compressed-tensors", "modelopt", "awq", "gptq", "fp8"}
)


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A folder that passed: its config, and its weight files with their tensors' dtypes."""

    path: Path
    config: dict[str, Any]
    shards: tuple[Path, ...]
    tensors: dict[str, str]

    @property
    def weight_bytes(self) -> int:
        """Size of the weight files."""
        return sum(shard.stat().st_size for shard in self.shards)


def check_model(path: Path) -> CheckedModel:
    """Check a local folder.

    Raises: WireError ``model_not_found``, ``unsupported_model`` or ``model_load_failed`` with
    ``data.reason`` and, where one is at fault, ``data.file``.
    """
    if not path.exists():
        raise WireError(
            "model_not_found",
            f"there is no folder {str(path)!r}; give the path of a model folder",
            data={"path": str(path)},
        )
    if not path.is_dir():
        raise failed("not_a_folder", f"{str(path)!r} is a file; give the folder it lies in")
    check_files(path)
    config = _read_config(path)
    _check_architecture(config)
    if not any((path / name).exists() for name in _TOKENIZER_FILES):
        raise failed("tokenizer", "the folder has no tokenizer; copy tokenizer.json into it")
    shards = _find_shards(path)
    tensors = _check_shards(shards)
    _check_counts(config, most=max(len(tensors), MOST_UNCHECKED))
    _check_index(path, shards, tensors)
    _check_quantization(config, tensors)
    return CheckedModel(path=path, config=config, shards=shards, tensors=tensors)


def failed(reason: str, message: str, **data: Any) -> WireError:
    """``model_load_failed`` with its reason."""
    return WireError("model_load_failed", message, data={"reason": reason, **data})


def check_files(folder: Path) -> None:
    """To open a pipe or a device is to wait for it, in part with the interpreter's lock held.

    A file that is read as a whole may fill the memory.
    """
    for file in folder.iterdir():
        if file.exists() and not file.is_file() and not file.is_dir():
            raise failed(
                "not_a_file",
                f"{file.name} is no regular file; copy the model anew from its source",
                file=file.name,
            )
        whole = file.suffix in _READ_WHOLE and file.is_file()
        if whole and file.stat().st_size > _MAX_READ_BYTES:
            raise failed(
                "too_large",
                f"{file.name} has more than {_MAX_READ_BYTES} bytes; copy it anew from the "
                "model's source",
                file=file.name,
            )


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.exists():
        raise failed(
            "no_config",
            f"{path.name} has no config.json; give the folder that holds it beside the weights",
            file=file.name,
        )
    config = read_object(file)
    if config.get("model_file") is not None:
        raise WireError(
            "unsupported_model",
            "config.json names a `model_file`, code that would have to run; this worker runs "
            "no code from a model folder. Use a model of a known architecture",
            data={"reason": "remote_code"},
        )
    return config


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises: WireError ``model_load_failed``."""
    remedy = "copy it anew from the model's source"
    try:
        value = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise failed(
            "invalid_json", f"{file.name} is not JSON ({error}); {remedy}", file=file.name
        ) from None
    except OSError as error:
        raise failed(
            "unreadable",
            f"{file.name} can't be read ({error.strerror}); {remedy}",
            file=file.name,
        ) from None
    if not isinstance(value, dict):
        raise failed("invalid_json", f"{file.name} holds no object; {remedy}", file=file.name)
    return value


def _check_architecture(config: dict[str, Any]) -> None:
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise failed(
            "no_model_type",
            "config.json has no `model_type`; copy it anew from the model's source",
            file="config.json",
        )
    from mlx_lm.utils import _get_classes

    try:
        known = _MODEL_TYPE.fullmatch(model_type) is not None and bool(_get_classes(config))
    except (ValueError, AttributeError, TypeError):
        known = False
    if not known:
        raise WireError(
            "unsupported_model",
            f"mlx-lm has no architecture {model_type[:80]!r}; use a newer mlx-lm or another "
            "model",
            data={"reason": "unknown_architecture", "model_type": model_type[:80]},
        )


def _find_shards(path: Path) -> tuple[Path, ...]:
    shards = tuple(sorted(path.glob("model*.safetensors")))
    if shards:
        return shards
    if any(path.glob("*.bin")) or any(path.glob("*.pth")):
        raise WireError(
            "unsupported_model",
            "the weights are in pickle files, which can run code when read; convert the model "
            "to safetensors (`mlx_lm.convert`)",
            data={"reason": "pickle_weights"},
        )
    raise failed("no_weights", "the folder has no model*.safetensors; download the weights")


def _check_shards(shards: Iterable[Path]) -> dict[str, str]:
    """Every header by the safetensors library: sizes, offsets, overlaps. Returns the dtypes."""
    tensors: dict[str, str] = {}
    for shard in shards:
        try:
            refuse_repeated_names(shard)
            with safe_open(str(shard), framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    if name in tensors:
                        raise failed(
                            "foreign_shard",
                            f"{shard.name} holds {name!r}, which another file holds too; remove "
                            "the file that is not of this model",
                            file=shard.name,
                        )
                    tensors[name] = file.get_slice(name).get_dtype()
        except (SafetensorError, OSError, ValueError) as error:
            raise failed(
                "damaged_shard",
                f"{shard.name} is truncated or damaged ({error}); download it anew",
                file=shard.name,
            ) from None
    return tensors


def refuse_repeated_names(file: Path) -> None:
    """Of a name that stands twice in a header readers may take either, and check the other.

    Raises: ValueError, also where the header is none.
    """
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        if size > _MAX_READ_BYTES:
            raise ValueError(f"its header has {size} bytes")
        header = opened.read(size)
    try:
        json.loads(header, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return fields


def _check_counts(config: dict[str, Any], *, most: int) -> None:
    """A billion of layers would fill the memory before they are found to have no weights."""
    for name, value in config.items():
        if isinstance(value, dict):
            _check_counts(value, most=most)
        elif type(value) in (int, float) and value > most and _COUNT.search(name):
            raise failed(
                "weights_do_not_fit",
                f"config.json says `{name}`: {str(value)[:24]}, and the weights have not that many "
                "tensors; copy both from the same source",
                file="config.json",
            )


def _check_index(path: Path, shards: tuple[Path, ...], tensors: dict[str, str]) -> None:
    file = path / "model.safetensors.index.json"
    if not file.exists():
        return
    weight_map = read_object(file).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(v, str) for v in weight_map.values()
    ):
        raise failed(
            "invalid_index",
            f"{file.name} has no `weight_map`; copy it anew from the model's source",
            file=file.name,
        )
    named = set(weight_map.values())
    present = {shard.name for shard in shards}
    if missing := sorted(named - present):
        raise failed(
            "missing_shard",
            f"{', '.join(missing[:3])} is missing, which {file.name} names; download it",
            file=missing[0],
        )
    if stale := sorted(present - named):
        raise failed(
            "foreign_shard",
            f"{', '.join(stale[:3])} is not named by {file.name} and would be mixed into the "
            "model; remove it",
            file=stale[0],
        )
    if absent := [name for name in weight_map if name not in tensors]:
        raise failed(
            "missing_tensor",
            f"{len(absent)} tensors that {file.name} names are in no file ({absent[0]} first); "
            "download the weights anew",
            file=file.name,
        )


def _check_quantization(config: dict[str, Any], tensors: dict[str, str]) -> None:
    text = config.get("text_config")
    sources = [config, text if isinstance(text, dict) else {}]
    plain = next(
        (s["quantization"] for s in sources if s.get("quantization") is not None), None
    )
    packed = any(name.endswith(".scales") for name in tensors)
    if plain is not None:
        complete = isinstance(plain, dict) and all(
            type(plain.get(name)) is int for name in ("bits", "group_size")
        )
        if not complete:
            raise failed(
                "quantization",
                "`quantization` in config.json needs the numbers `bits` and `group_size`; copy it "
                "anew from the model's source",
                file="config.json",
            )
        if not packed:
            raise failed(
                "quantization",
                "config.json says that the weights are quantized, but they are plain; remove "
                "`quantization` from it, or download the quantized weights",
                file="config.json",
            )
        return
    foreign = next(
        (s["quantization_config"] for s in sources if s.get("quantization_config")), None
    )
    if foreign is not None:
        _check_foreign_quantization(foreign, tensors)


def _check_foreign_quantization(foreign: Any, tensors: dict[str, str]) -> None:
    method = foreign.get("quant_method") if isinstance(foreign, dict) else None
    if method not in SUPPORTED_QUANT_METHODS:
        raise WireError(
            "unsupported_model",
            f"mlx-lm can't read weights quantized by {str(method)[:40]!r}; convert the original "
            "model with `mlx_lm.convert -q`",
            data={"reason": "quantization"},
        )
    scaled = any(
        "scale" in name.rsplit(".", 1)[-1] or name.endswith("qweight") for name in tensors
    )
    if not scaled and method != "bitnet":
        raise failed(
            "quantization",
            f"config.json says that the weights are quantized by {method!r}, but they have no "
            "scales; remove `quantization_config` from it, or download the quantized weights",
            file="config.json",
        )
