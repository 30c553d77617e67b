"""Converts a model folder: checks all that can be checked first, and writes the new folder last."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlx_lm.utils import quantize_model

from mlxwire_protocol import WireError, invalid_params

from ..mlx_engine.encoders.families import is_encoder
from ..mlx_engine.models.assembly import (
    most_common_quantization,
    parameter_count,
    parameters,
    quantized_modules,
    weight_bytes,
)
from ..mlx_engine.models.compute_dtype import DTYPES, cast, expand, stored_dtype
from ..mlx_engine.models.model_files import text_settings
from ..mlx_engine.models.paths import PathPolicy
from ..mlx_engine.models.preflight import CheckedModel, check_model
from ..mlx_engine.models.quantization import (
    foreign_method,
    with_modelopt,
    without_quantization,
)
from ..mlx_engine.writing.model_folder import (
    copy_side_files,
    sees,
    shard_gib,
    side_bytes,
    write_config,
    write_weights,
)
from ..mlx_engine.writing.new_folder import check_room, new_folder, new_place
from ..process.system_share import memory_bytes
from .dynamic import dynamic_recipe
from .forms import Form, Predicate, check_widths, choose_form, mixed_recipe, predicate, uniform
from .opening import open_tree
from .perplexity import Perplexity, measure
from .task import DYNAMIC, Task, Text, read_text

Report = Callable[..., None]


def convert(task: Task, report: Report) -> dict[str, Any]:
    """Write the model of a task in its new form, and return what it became.

    ``report`` receives a stage, and how much of it is done, of how much. Raises: WireError.
    """
    form = choose_form(task)
    text = read_text(task)
    source = PathPolicy((), (), allow_hub=False).model(task.source, of_worker=False)
    out = new_place(task.out, source)
    checked = check_model(source)
    _check_text(task, checked)
    model, stored_name = open_tree(checked)
    _check_stored(task, checked, model)
    report("check", 1, 1)
    config, plain = _change(task, form, model, checked, text, report)
    size, count = weight_bytes(model), parameter_count(model)
    warnings = _warnings(model, checked, plain, form)
    bits, group, mode = most_common_quantization(model)
    packed = bool(quantized_modules(model))
    _check_memory(model)
    check_room(out, size + side_bytes(source), "the converted model")
    before = None if text is None else measure(checked, text, "perplexity before", report)
    with new_folder(out, "the converted model") as folder:
        write_config(folder, model, config)
        copy_side_files(source, folder)
        write_weights(
            folder,
            model,
            lambda done, total, name: report("convert", done, total, tensor=name),
            stored_name,
        )
        after = _verify(folder, text, report)
    return {
        "path": str(out),
        "bits_per_weight": size * 8 / count,
        "parameters": count,
        "bytes": size,
        "quantization": {"bits": bits, "group_size": group, "mode": mode} if packed else None,
        "mixed": task.mixed,
        "perplexity_before": before and before.value,
        "perplexity_after": after and after.value,
        "text_tokens": before and before.tokens,
        "warnings": warnings,
    }


def _check_text(task: Task, checked: CheckedModel) -> None:
    """Refuse a text for a model that predicts none. Raises: WireError ``invalid_params``."""
    if task.text is not None and is_encoder(checked.config):
        raise invalid_params(
            "text",
            f"`text` is given, but {checked.path.name!r} is an encoder, which has no perplexity; leave `text` out",
        )


def _check_stored(task: Task, checked: CheckedModel, model: Any) -> None:
    """Refuse to quantize twice, and to dequantize what is plain or can't be. Raises: WireError."""
    config = with_modelopt(checked.config, checked.path)
    method = foreign_method({**text_settings(config), **config})
    packed = bool(quantized_modules(model)) or method is not None
    if not packed:
        if task.dequantize:
            raise invalid_params(
                "dequantize",
                "the weights of the model are plain already; leave `dequantize` out",
            )
        return
    if not task.dequantize:
        bits, group, mode = most_common_quantization(model)
        how = f"{bits} bits, groups of {group}, {mode}" if bits else str(method)
        raise invalid_params(
            "source",
            f"the model {checked.path.name!r} is quantized already ({how}), and would be rounded twice; give "
            "the model that it was made from, or add `dequantize` to make its weights plain first",
        )
    scaled = any(getattr(each, "global_scale", None) is not None for each in model.modules())
    if method == "bitnet" or scaled:
        raise invalid_params(
            "dequantize",
            f"weights in this form ({method or 'nvfp4 with a scale for each expert'}) can't be made plain; "
            "give the model that it was made from",
        )


def _change(
    task: Task,
    form: Form | None,
    model: Any,
    checked: CheckedModel,
    text: Text | None,
    report: Report,
) -> tuple[dict[str, Any], int]:
    """Change a model lazily; return its new config, and how many modules a group does not fit."""
    config = copy.deepcopy(checked.config)
    if task.dequantize:
        expand(model, stored_dtype(model, config))
        config = without_quantization(config)
    if task.dtype is not None:
        cast(model, DTYPES[task.dtype])
        _name_dtype(config, task.dtype)
    if form is None:
        return config, 0
    plain = check_widths(model, form)
    recipe: Predicate = uniform
    if task.mixed == DYNAMIC and text is not None:
        recipe = dynamic_recipe(task, form, model, checked, text, report)
    elif task.mixed is not None:
        recipe = mixed_recipe(task.mixed, model, form)
    decide = predicate(model, form, recipe)
    _, config = quantize_model(
        model, config, form.group_size, form.bits, form.mode, quant_predicate=decide
    )
    return config, plain


def _name_dtype(config: dict[str, Any], dtype: str) -> None:
    """Write the dtype where config.json names one; at its top if it names none."""
    named = [
        (part, name)
        for part in (config, text_settings(config))
        for name in ("torch_dtype", "dtype")
        if name in part
    ]
    for part, name in named or [(config, "torch_dtype")]:
        part[name] = dtype


def _warnings(model: Any, checked: CheckedModel, plain: int, form: Form | None) -> list[str]:
    told = []
    if plain and form is not None:
        told.append(
            f"{plain} matrices stay plain, because groups of {form.group_size} do not divide their rows"
        )
    if "vision_config" in checked.config and not sees(model):
        told.append(
            "the part that sees images is left out: mlx-lm builds the language model alone"
        )
    return told


def _check_memory(model: Any) -> None:
    """Refuse a conversion whose largest file does not fit into memory. Raises: WireError."""
    sizes = [array.nbytes for array in parameters(model)]
    unpacked = max(array.size for array in parameters(model)) * 4
    needed = min(sum(sizes), shard_gib() << 30) + max(sizes, default=0) + unpacked
    available = memory_bytes()
    if available is not None and needed > available:
        raise WireError(
            "out_of_memory",
            f"the conversion needs about {needed} bytes of memory, and {available} are free; end other "
            "programs, or convert on a machine with more memory",
            retryable=False,
            data={"needed": needed, "available": available},
        )


def _verify(folder: Path, text: Text | None, report: Report) -> Perplexity | None:
    """Check the new folder as a load does, and measure its perplexity. Raises: WireError."""
    checked = check_model(folder)
    open_tree(checked)
    if text is None:
        return None
    after = measure(checked, text, "perplexity after", report)
    assert math.isfinite(after.value)
    return after
