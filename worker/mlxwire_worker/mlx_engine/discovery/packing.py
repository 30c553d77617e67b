"""Works out how weights are quantized, from a config and the shapes of the stored tensors.

The rules are those of mlx-lm's `load_model`, which has a module with the unpacked shape to compare
with. Here the width of a row is known from the groups of its scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..models.model_files import text_settings
from ..models.safetensors_header import StoredTensor

Tensors = Mapping[str, StoredTensor]
GROUPS = (32, 64, 128, 16)
AFFINE_BITS = (1, 2, 3, 4, 5, 6, 8)
_ALONE = {4: ("mxfp4", 32, 4), 8: ("mxfp8", 32, 8), 2: ("nvfp4", 16, 4)}
"""Modes whose scales are bytes, by the 32-bit words for each scale: mode, group size, bits."""


class Packing(NamedTuple):
    """The form of a packed weight: a mode of MLX, the numbers of a group, and the bits of a number."""

    mode: str
    group: int
    bits: int


class PackedWeight(NamedTuple):
    """A packed weight: the names of its tensors, its form, and the size of it unpacked.

    ``stored_bytes`` are those that a load holds if it does not expand the weight.
    """

    names: tuple[str, ...]
    packing: Packing | None
    numbers: int
    stored_bytes: int
    expands: bool = True


def settings_of(config: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the `quantization` of mlx-lm, and the `quantization_config` of another program.

    If the first is there, mlx-lm does not look at the second.
    """
    own = config.get("quantization")
    if isinstance(own, dict):
        return own, None
    foreign = config.get(
        "quantization_config", text_settings(config).get("quantization_config")
    )
    return None, foreign if isinstance(foreign, dict) else None


def packed_weights(config: dict[str, Any], tensors: Tensors) -> Iterator[PackedWeight]:
    """Yield the packed weights among the tensors of a checked model."""
    own, foreign = settings_of(config)
    method = foreign.get("quant_method") if foreign is not None else None
    widths = _numbers_in(config)
    for name, tensor in tensors.items():
        path, _, last = name.rpartition(".")
        scales = tensors.get(f"{path}.scales")
        if last == "weight" and scales is not None and tensor.dtype in ("U32", "I32"):
            yield _of_mlx(path, tensor, scales, tensors, own or {}, widths)
        elif last == "qweight" and method == "awq" and scales is not None:
            yield _of_awq(path, tensor, scales, tensors, foreign or {})
        elif last == "weight_packed" or (last == "weight" and method == "modelopt"):
            if (scale := tensors.get(f"{path}.weight_scale")) is not None:
                yield _of_compressed(path, name, tensor, scale, tensors, foreign or {})
        elif last == "weight" and method == "bitnet" and tensor.dtype == "U8":
            yield PackedWeight((name,), None, 4 * tensor.numbers, tensor.nbytes, expands=False)
        elif name.endswith("_blocks") and (
            scale := tensors.get(name.removesuffix("_blocks") + "_scales")
        ):
            names = (name, name.removesuffix("_blocks") + "_scales")
            size = tensor.nbytes + scale.nbytes
            yield PackedWeight(names, Packing("mxfp4", 32, 4), 2 * tensor.numbers, size)
        elif last == "weight" and tensor.dtype.startswith("F8"):
            yield _of_fp8(path, tensor, tensors, foreign or {})


def _of_mlx(
    path: str,
    weight: StoredTensor,
    scales: StoredTensor,
    tensors: Tensors,
    settings: dict[str, Any],
    widths: frozenset[int],
) -> PackedWeight:
    names = tuple(
        f"{path}.{last}"
        for last in ("weight", "scales", "biases", "global_scale")
        if f"{path}.{last}" in tensors
    )
    size = sum(tensors[name].nbytes for name in names)
    words, groups = weight.shape[-1], max(scales.shape[-1], 1)
    told = settings.get(path)
    packing = _packing(words, groups, scales.dtype, told, settings, widths)
    numbers = weight.numbers * 32 // packing.bits
    expands = f"{path}.global_scale" not in names
    return PackedWeight(names, packing, numbers, size, expands)


def _packing(
    words: int,
    groups: int,
    scales: str,
    told: Any,
    settings: dict[str, Any],
    widths: frozenset[int],
) -> Packing:
    """Return the form of a weight whose rows have ``words`` words and ``groups`` scales."""
    if scales == "U8":
        return Packing(*_ALONE.get(words // groups, _ALONE[4]))
    fitting = [
        Packing("affine", group, bits)
        for group in GROUPS
        for bits in AFFINE_BITS
        if words * 32 == groups * group * bits
    ]
    wished = [
        Packing("affine", each.get("group_size", 0), each.get("bits", 0))
        for each in (told, settings)
        if isinstance(each, dict)
    ]
    of_width = [each for each in fitting if groups * each.group in widths]
    for packing in (*(each for each in wished if each in fitting), *of_width, *fitting):
        return packing
    return Packing("affine", 64, 4)


def _of_awq(
    path: str,
    weight: StoredTensor,
    scales: StoredTensor,
    tensors: Tensors,
    settings: dict[str, Any],
) -> PackedWeight:
    """Describe AWQ's weight, which a load repacks: affine, with a bias for each scale."""
    names = tuple(
        f"{path}.{last}"
        for last in ("qweight", "scales", "qzeros")
        if f"{path}.{last}" in tensors
    )
    packing = Packing("affine", _integer(settings.get("group_size"), 128), 4)
    return PackedWeight(names, packing, 8 * weight.numbers, weight.nbytes + 2 * scales.nbytes)


def _of_compressed(
    path: str,
    name: str,
    weight: StoredTensor,
    scale: StoredTensor,
    tensors: Tensors,
    settings: dict[str, Any],
) -> PackedWeight:
    """Describe a weight of compressed-tensors or of NVIDIA's ModelOpt: 4 bits in bytes or words."""
    names = [name, f"{path}.weight_scale"]
    names += [
        other
        for last in (
            "weight_global_scale",
            "weight_scale_2",
            "weight_shape",
            "weight_zero_point",
            "input_scale",
            "input_global_scale",
        )
        if (other := f"{path}.{last}") in tensors
    ]
    form = str(settings.get("format", "nvfp4"))
    packing = Packing("affine", 32, 4)
    if "nvfp4" in form:
        packing = Packing("nvfp4", 16, 4)
    elif "mxfp4" in form:
        packing = Packing("mxfp4", 32, 4)
    # A load of the affine form adds a bias for each scale.
    scales = scale.nbytes * (2 if packing.mode == "affine" else 1)
    return PackedWeight(tuple(names), packing, 2 * weight.nbytes, weight.nbytes + scales)


def _of_fp8(
    path: str, weight: StoredTensor, tensors: Tensors, settings: dict[str, Any]
) -> PackedWeight:
    """Describe 8-bit floats: packed as mxfp8 if their scales allow it, else expanded by the load."""
    names = [f"{path}.weight"]
    names += [
        name
        for last in ("weight_scale_inv", "weight_scale", "scale", "input_scale")
        if (name := f"{path}.{last}") in tensors
    ]
    if settings.get("scale_fmt") == "ue8m0" and settings.get("weight_block_size") == [32, 32]:
        size = weight.numbers + weight.numbers // 32
        return PackedWeight(tuple(names), Packing("mxfp8", 32, 8), weight.numbers, size)
    return PackedWeight(tuple(names), None, weight.numbers, 2 * weight.numbers)


def _integer(value: Any, default: int) -> int:
    return value if type(value) is int and value > 0 else default


def _numbers_in(config: dict[str, Any]) -> frozenset[int]:
    """Return the integers of a config, among which are the widths of most weights."""
    settings = {**config, **text_settings(config)}
    return frozenset(each for each in settings.values() if type(each) is int)
