"""Assembles the tensors of PyTorch's layers to those of the model's modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import mlx.core as mx
from mlx import nn

from ...models.model_files import quoted
from ..adapter import AdapterTensors
from ..checking import TensorFile, sizes_of
from .names import Place, Role


@dataclass(frozen=True, slots=True)
class AdaptedLayer:
    """A layer of PyTorch's model, and the names of its tensors in the file by their roles."""

    place: Place
    tensors: Mapping[Role, str]
    rank: int
    scale: float

    @property
    def first(self) -> str:
        """Return the name of its first tensor."""
        return next(iter(self.tensors.values()))

    def arrays(self, read: Mapping[str, mx.array]) -> tuple[mx.array, mx.array]:
        """Return A and B."""
        names = self.tensors
        if "a" in names:
            return read[names["a"]], read[names["b"]]
        return read[names["embedding_a"]], read[names["embedding_b"]]


def stacks_of(
    layers: Iterable[AdaptedLayer], file: TensorFile, modules: Mapping[str, nn.Module]
) -> dict[str, list[AdaptedLayer]]:
    """Return the experts of each layer of experts in order.

    Raises: WireError if one of a layer is missing, or differs from the others in rank or scale.
    """
    found: dict[str, dict[int, AdaptedLayer]] = {}
    for layer in layers:
        if layer.place.expert is not None:
            found.setdefault(layer.place.path, {})[layer.place.expert] = layer
    return {
        path: _whole(experts, _count(modules[path]), file) for path, experts in found.items()
    }


def _count(module: nn.Module) -> int:
    sizes = sizes_of(module)
    return 0 if sizes is None else sizes.experts


def _whole(
    experts: Mapping[int, AdaptedLayer], count: int, file: TensorFile
) -> list[AdaptedLayer]:
    first = experts[min(experts)]
    for number in range(count):
        expert = experts.get(number)
        if expert is None:
            raise file.refused(
                first.first,
                f"is for one of {count} experts, and expert {number} has no such tensor; mlx-lm "
                "computes the experts of a layer together: train all of them or none",
            )
        if (expert.rank, expert.scale) != (first.rank, first.scale):
            raise file.refused(
                expert.first,
                f"has another rank or scale than `{quoted(first.first)}`; the experts of a layer "
                "must have the same: train them with one",
            )
    return [experts[number] for number in range(count)]


def assemble(
    layers: Iterable[AdaptedLayer],
    stacks: Mapping[str, list[AdaptedLayer]],
    read: Mapping[str, mx.array],
) -> dict[str, AdapterTensors]:
    """Return the tensors of each module of the model by its path, evaluated."""
    parts: dict[str, AdapterTensors] = {}
    for layer in layers:
        if layer.place.expert is not None:
            continue
        a, b = layer.arrays(read)
        paths = layer.place.paths
        magnitude = layer.tensors.get("magnitude")
        shares = mx.split(b, len(paths))
        magnitudes = (
            [None] * len(paths) if magnitude is None else mx.split(read[magnitude], len(paths))
        )
        for path, share, factors in zip(paths, shares, magnitudes, strict=True):
            parts[path] = AdapterTensors(
                mx.contiguous(a.T), mx.contiguous(share.T), layer.scale, factors
            )
    for path, experts in stacks.items():
        pairs = [expert.arrays(read) for expert in experts]
        a, b = (mx.stack(list(each)) for each in zip(*pairs, strict=True))
        parts[path] = AdapterTensors(a, b, experts[0].scale)
    mx.eval([array for each in parts.values() for array in each.arrays])
    return dict(sorted(parts.items()))
