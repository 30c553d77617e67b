"""Reads what a folder says about its embeddings, in the files that sentence-transformers writes.

Imports no MLX. Settings that can't be honoured become a ``problem``, which refuses the work and not
the load: the same folder may still generate.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from msgspec import Struct

from mlxwire_protocol import WireError

from ...models.model_files import check_files, failed, quoted, read_object

MODULES = "modules.json"
PROMPTS = "config_sentence_transformers.json"
LIMITS = "sentence_bert_config.json"
_OLDER_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLINGS = {
    "cls": "first",
    "lasttoken": "last",
    "mean": "mean",
    "max": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_length",
    "weightedmean": "weighted_mean",
}
"""The names of sentence-transformers for poolings, and ours."""
_ACTIVATIONS = {"Identity": "identity", "Tanh": "tanh", "ReLU": "relu", "Sigmoid": "sigmoid"}
_OF_POOLED = "sentence_embedding"
_TASK = re.compile(r"(?s)(Instruct: ).*?(\nQuery: ?)$")
"""The form of a prompt in which a task's description stands, as Qwen3-Embedding and E5-mistral have it."""


class DenseLayer(Struct, frozen=True, kw_only=True):
    """A linear layer behind the pooling: its folder, sizes and activation."""

    folder: Path
    inputs: int
    outputs: int
    bias: bool
    activation: str


class EmbeddingSettings(Struct, frozen=True, kw_only=True):
    """The embeddings of a folder. ``pooling`` is None where the folder does not say.

    ``max_tokens`` is the most tokens of a text, ``truncate`` the numbers that are kept of a vector, and
    ``widths`` are those that a vector may be cut to, if the folder lists any. With ``appends_end`` each
    text ends with the tokenizer's token for its end.
    ``problem`` tells why the folder's vectors can't be computed, "" if they can.
    """

    pooling: str | None = None
    include_prompt: bool = True
    normalize: bool = False
    dense: tuple[DenseLayer, ...] = ()
    max_tokens: int | None = None
    lower_case: bool = False
    prompts: dict[str, str] = {}
    default_prompt: str | None = None
    truncate: int | None = None
    widths: tuple[int, ...] = ()
    appends_end: bool = False
    problem: str = ""

    def width_of(self, hidden: int) -> int:
        """Return the numbers of a vector of a model with this hidden size."""
        return self.dense[-1].outputs if self.dense else hidden

    def instructed(self, instruction: str) -> str:
        """Return what comes before a text that follows an instruction, in the folder's form."""
        for prompt in self.prompts.values():
            if instruction and (form := _TASK.fullmatch(prompt)):
                return f"{form[1]}{instruction}{form[2]}"
        return instruction


def read_settings(folder: Path, config: dict[str, Any]) -> EmbeddingSettings:
    """Read the embedding settings of a model folder; ``config`` is its config.json.

    Raises: WireError ``model_load_failed`` for a file that is damaged.
    """
    limits, prompts = _read(folder / LIMITS), _read(folder / PROMPTS)
    try:
        tokenizer = _read(folder / "tokenizer_config.json")
    except WireError:  # the tokenizer's own checks refuse what they can't do without
        tokenizer = {}
    named = prompts.get("prompts")
    texts = named if isinstance(named, dict) else {}
    widths = config.get("matryoshka_dimensions")
    told: dict[str, Any] = {
        "max_tokens": _positive(limits.get("max_seq_length")),
        "lower_case": limits.get("do_lower_case") is True,
        "prompts": {str(name): text for name, text in texts.items() if isinstance(text, str)},
        "default_prompt": _text(prompts.get("default_prompt_name")),
        "truncate": _positive(prompts.get("truncate_dim")),
        "widths": tuple(w for w in widths if _positive(w)) if isinstance(widths, list) else (),
        "appends_end": tokenizer.get("add_eos_token") is True,
    }
    if not (folder / MODULES).exists():
        return EmbeddingSettings(**told)
    try:
        told |= _read_modules(folder)
    except _Unserved as error:
        told["problem"] = str(error)
    return EmbeddingSettings(**told)


class _Unserved(Exception):
    """The folder asks for something that this worker does not compute."""


def _read_modules(folder: Path) -> dict[str, Any]:
    """Return pooling, normalization and dense layers, from the list of modules.

    Raises: _Unserved, WireError.
    """
    modules = _modules(folder)
    kinds = [kind for kind, _ in modules]
    if kinds == ["Transformer"]:
        return {}  # a cross-encoder, or a model that leaves the pooling to its user
    if kinds[:2] != ["Transformer", "Pooling"]:
        raise _Unserved(
            f"it begins with {_listed(kinds[:2])} and not with Transformer, Pooling"
        )
    told = _pooling(modules[1][1])
    dense: list[DenseLayer] = []
    normalize = False
    for kind, path in modules[2:]:
        if kind not in ("Dense", "Normalize", "Dropout"):
            raise _Unserved(f"it has the module {quoted(kind)[:80]!r}")
        if normalize and kind == "Dense":
            raise _Unserved("it has a module Dense behind Normalize")
        if kind == "Dense":
            dense.append(_dense(path))
        normalize = normalize or kind == "Normalize"
        if kind == "Normalize" and _read(path / "config.json").get(
            "module_input_name", _OF_POOLED
        ) not in (_OF_POOLED, None):
            raise _Unserved("its module Normalize is not applied to the text's vector")
    return {**told, "dense": tuple(dense), "normalize": normalize}


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Return the kind and the folder of each module, in order. Raises: _Unserved, WireError."""
    from json import loads

    file = folder / MODULES
    try:
        listed = loads(file.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise _damaged(file, f"is not JSON ({quoted(error)})") from None
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise _damaged(file, "is not a list of objects")
    found: list[tuple[str, Path]] = []
    for each in sorted(listed, key=lambda each: _positive(each.get("idx")) or 0):
        path, kind = each.get("path", ""), each.get("type")
        if not isinstance(kind, str) or not isinstance(path, str):
            raise _damaged(file, "has a module without `type` or `path`")
        own = folder / path
        if path and (Path(path).is_absolute() or ".." in Path(path).parts):
            raise _damaged(
                file, f"names the path {quoted(path)!r}, which is not below the folder"
            )
        if path and os.path.isdir(own):  # False for a name that no folder can have
            check_files(own)
        if not found and own != folder:
            raise _Unserved(f"its first module is in the folder {quoted(path)[:80]!r}")
        found.append((kind.rsplit(".", 1)[-1], own))
    return found


def _pooling(folder: Path) -> dict[str, Any]:
    config = _read(folder / "config.json")
    modes = config.get("pooling_mode")
    if modes is None:
        chosen = [mode for name, mode in _OLDER_MODES.items() if config.get(name) is True]
        modes = chosen or ["mean"]
    modes = modes if isinstance(modes, list) else [modes]
    if len(modes) != 1:
        raise _Unserved(f"it puts several poolings into one vector ({_listed(modes)})")
    if not isinstance(modes[0], str) or modes[0] not in _POOLINGS:
        raise _Unserved(f"it has the pooling {quoted(modes[0])[:80]!r}")
    include = config.get("include_prompt") is not False
    return {"pooling": _POOLINGS[modes[0]], "include_prompt": include}


def _dense(folder: Path) -> DenseLayer:
    config = _read(folder / "config.json")
    if config.get("module_input_name", _OF_POOLED) not in (_OF_POOLED, None):
        raise _Unserved("its module Dense is not applied to the text's vector")
    function = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = _ACTIVATIONS.get(function.rsplit(".", 1)[-1])
    inputs, outputs = (
        _positive(config.get("in_features")),
        _positive(config.get("out_features")),
    )
    if activation is None:
        raise _Unserved(f"its module Dense has the activation {quoted(function)[:80]!r}")
    if config.get("use_residual") is True:
        raise _Unserved("its module Dense has a residual connection")
    if inputs is None or outputs is None:
        raise _damaged(folder / "config.json", "lacks `in_features` or `out_features`")
    if not (folder / "model.safetensors").exists():
        raise _Unserved(
            f"the weights of its module Dense are not in {folder.name}/model.safetensors"
        )
    return DenseLayer(
        folder=folder,
        inputs=inputs,
        outputs=outputs,
        bias=config.get("bias") is not False,
        activation=activation,
    )


def _damaged(file: Path, what: str) -> Exception:
    return failed(
        "embedding_settings",
        f"{file.name} {what}; copy it again from the model's source",
        file=file.name,
    )


def _read(file: Path) -> dict[str, Any]:
    return read_object(file) if os.path.exists(file) else {}


def _positive(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _listed(names: list[Any]) -> str:
    return ", ".join(str(name)[:40] for name in names[:6]) or "nothing"
