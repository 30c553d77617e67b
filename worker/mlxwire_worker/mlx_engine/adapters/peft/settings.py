"""Reads adapter_config.json of PEFT's format: what of it changes the numbers is read or refused.

Unsloth, axolotl, TRL and others write the same file. Names in it are those of PyTorch's modules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mlxwire_protocol import WireError

from ...models.model_files import quoted
from ..checking import CONFIG, finite_number, refused, whole_number
from .patterns import NamePatterns, endings

_OF_TRAINING = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode"),
        *("peft_version", "transformers_version", "lora_dropout", "megatron_core"),
        *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "velora_config"),
        "qalora_group_size",
        *("runtime_config", "layers_pattern", "ensure_weight_tying"),
        # PyTorch's layer may keep its weight transposed; A and B are stored the same way round.
        "fan_in_fan_out",
    }
)
"""Settings that change no number of a finished adapter, or tell only what the file tells too."""
_READ = frozenset(
    {
        *("peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern"),
        *("alpha_pattern", "target_modules", "exclude_modules", "layers_to_transform"),
        *("init_lora_weights", "bias"),
    }
)
_MERGE = "merge the adapter into its model with PEFT (`merge_and_unload`) and load that model"
_UNSERVED = {
    "modules_to_save": (
        "whole modules are trained and saved beside the adapter",
        f"train without it, or {_MERGE}",
    ),
    "trainable_token_indices": (
        "rows of the embedding are trained and saved beside the adapter",
        f"train without it, or {_MERGE}",
    ),
    "target_parameters": (
        "parameters are adapted that belong to no linear layer",
        f"train without it, or {_MERGE}",
    ),
    "lora_bias": ("B has a bias", f"train without it, or {_MERGE}"),
    "layer_replication": ("layers of the model are repeated", _MERGE),
    "megatron_config": (
        "the adapter is for Megatron's parallel layers",
        "convert it to the layers of transformers with the tool that trained it",
    ),
    "alora_invocation_tokens": (
        "the adapter begins at certain tokens of a prompt (aLoRA)",
        "train without it",
    ),
    "use_qalora": ("the inputs are pooled before A (QALoRA)", "train without it"),
    "use_bdlora": ("A and B are in blocks (BD-LoRA)", "train without it"),
    "arrow_config": ("several adapters are mixed for each token (Arrow)", "load them singly"),
}
"""Settings that change what is computed, why they can't be honoured, and what to do."""
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
"""Values of `init_lora_weights` with which the model's own weights stay as they are."""


@dataclass(frozen=True, slots=True)
class PeftSettings:
    """The settings of a PEFT adapter that its numbers depend on.

    ``targets`` and ``excluded`` are names or ends of names, None where the config has a pattern
    in their place, which is not compared with the tensors; nor are names then that it may exclude.
    """

    rank: int
    alpha: float
    rslora: bool
    dora: bool
    ranks: NamePatterns[int]
    alphas: NamePatterns[float]
    targets: frozenset[str] | None
    excluded: frozenset[str] | None
    layers: frozenset[int] | None
    base: str | None

    def rank_of(self, name: str) -> int:
        """Return the rank for a module by its name in PyTorch."""
        rank = self.ranks.find(name)
        return self.rank if rank is None else rank

    def scale_of(self, name: str) -> float:
        """Return the factor of B · A for a module by its name in PyTorch."""
        alpha = self.alphas.find(name)
        if alpha is None:
            alpha = self.alpha
        rank = self.rank_of(name)
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank

    def names(self, name: str) -> bool:
        """Return True if the config adapts the module of a name, or has a pattern for that."""
        ends = frozenset(endings(name))
        if self.excluded is not None and not ends.isdisjoint(self.excluded):
            return False
        if self.targets is None or name in self.targets:
            return True
        if ends.isdisjoint(self.targets):
            return False
        if self.layers is None:
            return True
        numbers = re.findall(r"\.(\d{1,9})(?=\.)", name)
        return any(int(number) in self.layers for number in numbers)


def read_settings(config: dict[str, Any]) -> PeftSettings:
    """Read a config, which must be one of LoRA or DoRA. Raises: WireError."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise refused(
            f"{CONFIG} has the `peft_type` {quoted(repr(kind))}; the accepted one is 'LORA'. Train "
            f"LoRA or DoRA, or {_MERGE}",
            file=CONFIG,
        )
    _refuse_unserved(config)
    rank = whole_number(config.get("r"), 1)
    if rank is None:
        raise _wrong("r", config, "an integer from 1 on")
    alpha = finite_number(config.get("lora_alpha", 8))
    if alpha is None:
        raise _wrong("lora_alpha", config, "a finite number")
    base = config.get("base_model_name_or_path")
    return PeftSettings(
        rank=rank,
        alpha=alpha,
        rslora=_switch(config, "use_rslora"),
        dora=_switch(config, "use_dora"),
        ranks=_rank_pattern(config),
        alphas=_alpha_pattern(config),
        targets=_targets(config),
        excluded=_names(config, "exclude_modules")
        if config.get("exclude_modules")
        else frozenset(),
        layers=_layers(config),
        base=base if isinstance(base, str) and base else None,
    )


def _refuse_unserved(config: dict[str, Any]) -> None:
    for name, (why, remedy) in _UNSERVED.items():
        if config.get(name):
            raise refused(
                f"{CONFIG} sets `{name}` ({quoted(repr(config[name]))[:100]}): {why}, which is not "
                f"supported; {remedy}",
                file=CONFIG,
            )
    bias = config.get("bias", "none")
    if bias not in ("none", None):
        raise refused(
            f"`bias` in {CONFIG} is {quoted(repr(bias))}; the accepted value is 'none', since biases "
            f"that were trained are not supported; train without, or {_MERGE}",
            file=CONFIG,
        )
    _refuse_changed_base(config.get("init_lora_weights", True))
    for name, value in config.items():
        if value and name not in _OF_TRAINING and name not in _READ:
            raise refused(
                f"{CONFIG} sets `{quoted(name)}` ({quoted(repr(value))[:100]}), which mlxwire does "
                "not know; if it changes no number of the finished adapter, remove it from the "
                f"file, else {_MERGE}",
                file=CONFIG,
            )


def _refuse_changed_base(start: object) -> None:
    """Refuse ways to begin a training that change the model's own weights, too."""
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise refused(
            f"`init_lora_weights` in {CONFIG} is {quoted(repr(start))}: the training began by "
            "changing the model's own weights, so on the model itself the adapter computes "
            "something else; save it again with PEFT's "
            "`save_pretrained(…, path_initial_model_for_weight_conversion=…)`",
            file=CONFIG,
        )
    word = start.lower() if isinstance(start, str) else start
    if not isinstance(word, bool | str | None) or word not in _STARTS:
        raise refused(
            f"`init_lora_weights` in {CONFIG} is {quoted(repr(start))}, which mlxwire does not "
            f"know; {_MERGE}",
            file=CONFIG,
        )


def _switch(config: dict[str, Any], name: str) -> bool:
    value = config.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _wrong(name, config, "true or false")


def _rank_pattern(config: dict[str, Any]) -> NamePatterns[int]:
    found: dict[str, int] = {}
    for key, value in _pattern(config, "rank_pattern"):
        rank = whole_number(value, 1)
        if rank is None:
            raise _wrong("rank_pattern", config, "an object of names and integers from 1 on")
        found[key] = rank
    return NamePatterns(found, "rank_pattern")


def _alpha_pattern(config: dict[str, Any]) -> NamePatterns[float]:
    found: dict[str, float] = {}
    for key, value in _pattern(config, "alpha_pattern"):
        alpha = finite_number(value)
        if alpha is None:
            raise _wrong("alpha_pattern", config, "an object of names and finite numbers")
        found[key] = alpha
    return NamePatterns(found, "alpha_pattern")


def _pattern(config: dict[str, Any], name: str) -> Iterable[tuple[str, Any]]:
    value = config.get(name) or {}
    if not isinstance(value, dict):
        raise _wrong(name, config, "an object")
    return value.items()


def _targets(config: dict[str, Any]) -> frozenset[str] | None:
    """Return the names of the target modules; None for a regular expression or a word for all."""
    if config.get("target_modules") in (None, []):
        raise _wrong("target_modules", config, "a list of names, or a pattern")
    return _names(config, "target_modules")


def _names(config: dict[str, Any], name: str) -> frozenset[str] | None:
    value = config.get(name)
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return frozenset(value)
    raise _wrong(name, config, "a list of names, or a pattern")


def _layers(config: dict[str, Any]) -> frozenset[int] | None:
    value = config.get("layers_to_transform")
    if value is None:
        return None
    numbers = value if isinstance(value, list) else [value]
    if all(whole_number(each, 0) is not None for each in numbers):
        return frozenset(numbers) or None
    raise _wrong("layers_to_transform", config, "an integer or a list of integers from 0 on")


def _wrong(name: str, config: dict[str, Any], accepted: str) -> WireError:
    told = quoted(repr(config[name])) if name in config else "missing"
    return refused(
        f"`{name}` in {CONFIG} is {told}; it has to be {accepted}; copy the file again from where "
        "the adapter was trained",
        file=CONFIG,
    )
