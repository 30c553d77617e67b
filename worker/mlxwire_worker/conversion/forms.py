"""Chooses how each module is quantized: one form for all, or a recipe with several.

MLX itself says which bits and groups a mode has, so that a newer one needs no change here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx
from mlx_lm.convert import QUANT_RECIPES, mixed_quant_predicate_builder

from mlxwire_protocol import WireError, invalid_params

from .task import DYNAMIC, Task

_DEFAULTS = {"affine": (64, 4), "mxfp4": (32, 4), "nvfp4": (16, 4), "mxfp8": (32, 8)}
_GROUPS = (16, 32, 64, 128)
_BITS = range(1, 9)
RECIPES = (*QUANT_RECIPES, DYNAMIC)

Choice = bool | dict[str, Any]
Predicate = Callable[[str, Any], Choice]


class Form(NamedTuple):
    """The bits, group size and mode of quantized weights."""

    bits: int
    group_size: int
    mode: str


def choose_form(task: Task) -> Form | None:
    """Return the form that a task asks for; None if it asks for plain weights.

    Raises: WireError ``invalid_params`` for what MLX does not have.
    """
    if not task.quantizes:
        return None
    mode = task.mode or "affine"
    if mode not in _DEFAULTS:
        raise invalid_params("mode", f"`mode` is {mode!r}; accepted are {', '.join(_DEFAULTS)}")
    if task.mixed is not None and task.mixed not in RECIPES:
        raise invalid_params(
            "mixed", f"`mixed` is {task.mixed!r}; accepted are {', '.join(RECIPES)}"
        )
    accepted = _accepted(mode)
    if not accepted:
        raise invalid_params(
            "mode",
            f"`mode` is {mode!r}, which this version of MLX does not have; install a newer mlx, or take "
            "another mode",
        )
    group, bits = _DEFAULTS[mode]
    bits = task.bits if task.bits is not None else bits
    group = task.group_size if task.group_size is not None else group
    _check_one("bits", bits, sorted({each.bits for each in accepted}), mode)
    _check_one("group_size", group, sorted({each.group_size for each in accepted}), mode)
    return Form(bits, group, mode)


def _accepted(mode: str) -> list[Form]:
    """Return the forms that this MLX has for a mode."""
    found = []
    sample = mx.zeros((1, max(_GROUPS)))
    for form in (Form(bits, group, mode) for group in _GROUPS for bits in _BITS):
        try:
            mx.quantize(sample, form.group_size, form.bits, mode)
        except (ValueError, RuntimeError):
            continue
        found.append(form)
    return found


def _check_one(name: str, value: int, accepted: list[int], mode: str) -> None:
    if value in accepted:
        return
    if len(accepted) == 1:
        raise invalid_params(
            name,
            f"`{name}` is {value}, but the mode {mode!r} has {accepted[0]} alone; leave `{name}` out, or "
            "take the mode 'affine'",
        )
    raise invalid_params(
        name,
        f"`{name}` is {value}; the mode {mode!r} takes {', '.join(map(str, accepted))}",
    )


def can_be_quantized(module: Any, group_size: int) -> bool:
    """Return True for a module whose rows are whole groups."""
    return hasattr(module, "to_quantized") and module.weight.shape[-1] % group_size == 0


def check_widths(model: Any, form: Form) -> int:
    """Return the number of modules that stay plain, because a group does not divide their width.

    Raises: WireError ``invalid_params`` if that is all of them.
    """
    modules = [module for module in model.modules() if hasattr(module, "to_quantized")]
    plain = [each for each in modules if not can_be_quantized(each, form.group_size)]
    if len(plain) < len(modules):
        return len(plain)
    widths = sorted({module.weight.shape[-1] for module in modules})
    fitting = sorted(
        {each.group_size for each in _accepted(form.mode)}
        & {group for group in _GROUPS if any(width % group == 0 for width in widths)}
    )
    told = ", ".join(map(str, widths)) or "none"
    if not fitting:
        raise invalid_params(
            "group_size",
            f"`group_size` is {form.group_size}, but the rows of the model's matrices have other lengths "
            f"({told}), which no group of the mode {form.mode!r} divides; the model can't be quantized so",
        )
    raise invalid_params(
        "group_size",
        f"`group_size` is {form.group_size}, which divides no row of the model's matrices (their lengths: "
        f"{told}); give {' or '.join(map(str, fitting))}",
    )


def predicate(model: Any, form: Form, recipe: Predicate) -> Predicate:
    """Return what decides for each module: what the architecture says, and then a recipe.

    Architectures keep some modules plain, or with more bits, such as the router of experts. With a
    recipe mlx-lm would forget that.
    """
    own: Predicate = getattr(model, "quant_predicate", None) or uniform

    def decide(path: str, module: Any) -> Choice:
        said = own(path, module)
        if isinstance(said, dict):
            group = said.get("group_size", form.group_size)
            fits = module.weight.shape[-1] % group == 0
            return {**said, "group_size": group if fits else form.group_size}
        return recipe(path, module) if said else False

    return decide


def uniform(_path: str, _module: Any) -> Choice:
    """Give each module the form that was asked for."""
    return True


def mixed_recipe(name: str, model: Any, form: Form) -> Predicate:
    """Return a recipe of mlx-lm. Raises: WireError if it does not fit the architecture."""
    try:
        found: Any = mixed_quant_predicate_builder(name, model, form.group_size)
    except (ValueError, AttributeError) as error:
        raise unfit(name, error) from None
    chosen: Predicate = found
    return chosen


def unfit(recipe: str, error: Exception) -> WireError:
    """Create the error for a recipe that an architecture does not allow."""
    return invalid_params(
        "mixed",
        f"the recipe {recipe!r} does not fit this architecture ({' '.join(str(error).split())[:200]}); give `bits` "
        "in its place",
    )
