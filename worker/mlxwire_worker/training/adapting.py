"""Chooses which weights of a model are trained, and puts the layers of an adapter into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from mlxwire_protocol import WireError, invalid_params

from ..mlx_engine.adapters.layers import EMBEDDING, EXPERTS, LINEAR
from .spec import TrainOptions

_KINDS = (*LINEAR, *EMBEDDING, *EXPERTS)
_MOST_TOLD = 40


class Trained(NamedTuple):
    """The part of a model that is trained: its number of last layers, and the adapted modules.

    ``keys`` are as mlx-lm's config of an adapter has them, ``modules`` paths in the model, and
    ``endings`` what these paths alone end with. All are empty with the method `full`.
    """

    layers: int
    keys: list[str]
    modules: list[str]
    endings: list[str]


def choose_trained(model: Any, options: TrainOptions, *, quantized: bool = False) -> Trained:
    """Freeze the weights that are not trained, and put the layers of an adapter into the model.

    ``quantized`` is True if the model's files hold quantized weights, also where those in memory are
    expanded.
    Raises: WireError ``invalid_params`` for ``layers``, ``keys`` or ``method``.
    """
    total = len(model.layers)
    count = options.layers or total
    if count > total:
        raise invalid_params(
            "layers",
            f"`layers` is {count}, but the model has {total}; give at most {total}, or leave `layers` "
            "out to train all",
        )
    for module in model.modules():
        if not hasattr(module, "_no_grad"):  # one of RecurrentGemma skips Module's constructor
            module._no_grad = set()
    model.freeze()
    if options.method == "full":
        _unfreeze(model, count, quantized=quantized)
        return Trained(count, [], [], [])
    keys = _keys(model, options.keys)
    _refuse_fused(model, keys)
    before = {id(module): name for name, module in model.named_modules()}
    config = {
        "rank": options.rank,
        "scale": options.scale,
        "dropout": options.dropout,
        "keys": keys,
    }
    try:
        linear_to_lora_layers(model, count, config, use_dora=options.method == "dora")
    except ValueError as error:
        raise _unsuitable(options, error) from None
    adapted = [
        name
        for name, module in model.named_modules()
        if "lora_a" in module and id(module) not in before
    ]
    if not adapted:
        raise invalid_params(
            "layers",
            f"the last {count} layers have none of the modules {_listed(keys)}; raise `layers`, or name "
            "other `keys`",
        )
    if options.method == "dora":
        _refuse_embeddings(model, adapted, options)
    _check_shapes(model)
    _try(model, keys)
    return Trained(count, keys, adapted, _endings(adapted, before.values()))


def _endings(adapted: list[str], names: Iterable[str]) -> list[str]:
    """Return the shortest list of names that tell the adapted modules from all others."""
    last = {name.rpartition(".")[2] for name in adapted}
    same = {name for name in names if name.rpartition(".")[2] in last}
    return sorted(last) if same <= set(adapted) else adapted


def _unfreeze(model: Any, count: int, *, quantized: bool) -> None:
    if quantized:
        raise invalid_params(
            "method",
            "the method `full` can't train quantized weights; set `method` to `lora` or `dora`, or "
            "train the model that is not quantized",
        )
    for layer in model.layers[-count:]:
        layer.unfreeze()


def _keys(model: Any, asked: list[str] | None) -> list[str]:
    """Return the names of modules to adapt, within a layer or, outside the layers, of the model.

    A name stands for each module whose path ends with it: `q_proj` for `self_attn.q_proj`.
    """
    within = dict.fromkeys(
        name
        for layer in model.layers
        for name, module in layer.named_modules()
        if _suits(module)
    )
    if asked is None:
        return list(within)
    inside = {id(module) for layer in model.layers for module in layer.modules()}
    outside = dict.fromkeys(
        name
        for name, module in model.named_modules()
        if _suits(module) and id(module) not in inside
    )
    known = [*within, *outside]
    chosen: dict[str, None] = {}
    for key in asked:
        found = [name for name in known if name == key or name.endswith(f".{key}")]
        if not found:
            raise invalid_params(
                "keys",
                f"`keys` has {key[:80]!r}, but the model has no such module; accepted are "
                f"{_listed(known)}",
            )
        chosen |= dict.fromkeys(found)
    if not chosen:
        raise invalid_params(
            "keys",
            "`keys` is empty, so nothing would be trained; name modules, or leave it out",
        )
    return list(chosen)


def _refuse_fused(model: Any, keys: list[str]) -> None:
    """Refuse modules that mlx-lm adapts in a way of their own: no worker can load such an adapter."""
    fused = {
        name
        for layer in model.layers
        for name, module in layer.named_modules()
        if name in keys and hasattr(module, "to_lora")
    }
    if fused:
        others = _listed([key for key in keys if key not in fused])
        raise invalid_params(
            "keys",
            f"{_listed(sorted(fused))} of this model is several layers in one, which no adapter of the "
            f"worker can change; name `keys` without it, of {others}",
        )


def _suits(module: Any) -> bool:
    return hasattr(module, "to_lora") or isinstance(module, _KINDS)


def _unsuitable(options: TrainOptions, error: object) -> WireError:
    return invalid_params(
        "method" if options.keys is None else "keys",
        f"the method `{options.method}` can't adapt a module of this model ({error}); set `method` to "
        "`lora`, or name `keys` without that module",
    )


def _refuse_embeddings(model: Any, adapted: list[str], options: TrainOptions) -> None:
    """Refuse embeddings with DoRA, which mlx-lm trains, but which no engine could load."""
    modules = dict(model.named_modules())
    for name in adapted:
        if "linear" not in modules[name]:
            raise _unsuitable(options, f"{name} is no linear layer")


def _check_shapes(model: Any) -> None:
    """Refuse modules whose matrices mlx-lm gave the wrong sizes (DoRA over 3, 5 or 6 bits)."""
    for name, module in model.named_modules():
        base = module.get("linear") if "m" in module else None
        if isinstance(base, nn.QuantizedLinear):
            width = base.weight.shape[-1] * 32 // base.bits
            if module.lora_a.shape[0] != width:
                raise invalid_params(
                    "method",
                    f"the method `dora` can't adapt {name}, whose weights have {base.bits} bits; set "
                    "`method` to `lora`, or `compute_dtype` of the load to `float32`",
                )


def _try(model: Any, keys: list[str]) -> None:
    """Trace a step, and refuse modules that the model does not call but reads (as Gemma 3n does)."""
    model.train()  # some models take another way then
    try:
        model(mx.zeros((1, 32), mx.int32))  # lazy: nothing is computed
    except (AttributeError, TypeError, ValueError) as error:
        raise invalid_params(
            "keys",
            f"the model can't compute with an adapter in all of {_listed(keys)} ({error}); name some of "
            "them as `keys`, such as `q_proj` and `v_proj`",
        ) from None


def _listed(names: list[str]) -> str:
    told = ", ".join(names[:_MOST_TOLD])
    return told + (", …" if len(names) > _MOST_TOLD else "")


def trained_arrays(model: Any) -> dict[str, Any]:
    """Return the trained parameters by name."""
    flat: Any = tree_flatten(model.trainable_parameters())
    return dict(flat)
