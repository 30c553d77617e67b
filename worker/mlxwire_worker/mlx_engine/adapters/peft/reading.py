"""Reads LoRA and DoRA adapters in PEFT's format: adapter_config.json, adapter_model.safetensors.

PyTorch stores A as [rank, inputs] and B as [outputs, rank]; of an embedding A is [rank, ids] and B
[dimensions, rank]. Each expert is a layer of its own there, and part of one module here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlx import nn

from ...models.model_files import quoted
from ..adapter import Adapter
from ..checking import CONFIG, Sizes, TensorFile, checked_sizes, parts_of, sizes_of
from ..layers import EXPERTS
from .assembling import AdaptedLayer, assemble, stacks_of
from .copies import EmbeddingCopies
from .names import Place, Places, Role, parsed
from .settings import PeftSettings, read_settings

TENSORS = "adapter_model.safetensors"
_SPELLED: dict[Role, str] = {
    "a": "lora_A.weight",
    "b": "lora_B.weight",
    "embedding_a": "lora_embedding_A",
    "embedding_b": "lora_embedding_B",
    "magnitude": "lora_magnitude_vector",
}


def read_peft(
    folder: Path, config: dict[str, Any], modules: Mapping[str, nn.Module]
) -> Adapter:
    """Read an adapter. ``modules`` are the model's by their paths. Raises: WireError."""
    settings = read_settings(config)
    reading = _Reading(TensorFile(folder / TENSORS), settings, modules)
    for tensor in reading.file.shapes:
        reading.sort(tensor)
    reading.check_whole()
    layers = reading.layers()
    stacks = stacks_of(layers, reading.file, modules)
    arrays = reading.file.read()
    reading.copies.compare(arrays)
    return Adapter(
        path=folder,
        format="peft",
        method="dora" if settings.dora else "lora",
        rank=max(layer.rank for layer in layers),
        scale=max((layer.scale for layer in layers), key=abs),
        modules=assemble(layers, stacks, arrays),
    )


class _Reading:
    """The tensors of one file, sorted by the modules of PyTorch that they are for.

    ``found`` has for each module's name its tensors by their roles.
    """

    def __init__(
        self, file: TensorFile, settings: PeftSettings, modules: Mapping[str, nn.Module]
    ) -> None:
        self.file = file
        self.found: dict[str, dict[Role, str]] = {}
        self._settings = settings
        self._modules = modules
        self._names = Places(modules)
        self._places: dict[str, Place] = {}
        self._takers: dict[tuple[str, int | None], str] = {}
        self.copies = EmbeddingCopies(file, self._names, modules)
        self._spelled: tuple[str, str] | None = None

    def sort(self, tensor: str) -> None:
        """Find the module of a tensor, and check its shape. Raises: WireError."""
        key = parsed(tensor)
        if key is None:
            if not self.copies.take(tensor):
                raise self.file.refused(
                    tensor,
                    "is no part of a LoRA, so what it holds would be lost; train without it "
                    "(`modules_to_save`, `bias`, `lora_bias`), or merge the adapter into its model with PEFT "
                    "(`merge_and_unload`) and load that model",
                )
            return
        self._check_adapter_name(tensor, key.adapter)
        place = self._place(tensor, key.module)
        roles = self.found.setdefault(key.module, {})
        takers = [(path, place.expert) for path in place.paths]
        first = next(
            (self._takers[each] for each in takers if each in self._takers), key.module
        )
        self._takers.update(dict.fromkeys(takers, first))
        if key.role in roles or first != key.module:
            other = roles.get(key.role) or next(iter(self.found[first].values()))
            raise self.file.refused(
                tensor,
                f"is for the same as `{quoted(other)}`; save the adapter again, each tensor once",
            )
        roles[key.role] = tensor
        self._check_shape(tensor, key.module, key.role, place)

    def _check_adapter_name(self, tensor: str, name: str) -> None:
        if self._spelled is None:
            self._spelled = name, tensor
        elif self._spelled[0] != name:
            raise self.file.refused(
                tensor,
                f"is of the adapter {name!r}, and `{quoted(self._spelled[1])}` is of "
                f"{self._spelled[0]!r}; save one adapter to a folder",
            )

    def _place(self, tensor: str, name: str) -> Place:
        if (known := self._places.get(name)) is not None:
            return known
        place = self._names.find(name)
        if place is None:
            raise self.file.refused(tensor, self._why_nowhere(name))
        if not self._settings.names(name):
            raise self.file.refused(
                tensor,
                f"is for a module that `target_modules`, `exclude_modules` and "
                f"`layers_to_transform` in {CONFIG} leave out; copy both files again from where "
                "the adapter was trained",
            )
        self._places[name] = place
        return place

    def _why_nowhere(self, name: str) -> str:
        base = (
            f" It was trained on {quoted(self._settings.base)!r}."
            if self._settings.base
            else ""
        )
        if name.rpartition(".")[2] in ("lm_head", "embed_out"):
            return (
                "is for the last layer, which this model has not: its embedding takes the place of "
                "one (`tie_word_embeddings`). Train without it in `target_modules`"
            )
        return (
            f"is for a module that this model lacks in mlx-lm ({parts_of(self._modules, name)}); "
            f"use an adapter that was trained on this model, or merge it with PEFT.{base}"
        )

    def _check_shape(self, tensor: str, name: str, role: Role, place: Place) -> None:
        module = self._modules[place.path]
        dora = self._settings.dora
        sizes = checked_sizes(place.path, module, dora=dora, tensor=tensor, file=self.file)
        if role == "magnitude" and not dora:
            raise self.file.refused(
                tensor,
                f"is of a DoRA, but `use_dora` in {CONFIG} is not true; copy both files again from "
                "where the adapter was trained",
            )
        if (sizes.kind == "embedding") != role.startswith("embedding"):
            raise self.file.refused(
                tensor,
                f"is for `{quoted(place.path)}`, which is of the class {type(module).__name__}; "
                "use an adapter that was trained on this model",
            )
        if sizes.kind == "embedding" and is_tied(self._modules, module):
            raise self.file.refused(
                tensor,
                f"is for `{quoted(place.path)}`, which is this model's last layer, too "
                "(`tie_word_embeddings`); PEFT adapts it at the beginning alone. Train without it "
                "in `target_modules`",
            )
        if sizes.kind == "experts" and not (place.expert or 0) < sizes.experts:
            raise self.file.refused(
                tensor,
                f"is for the expert {place.expert}, and the model has {sizes.experts}; use an "
                "adapter that was trained on this model",
            )
        for path in place.others:
            other = checked_sizes(
                path, self._modules[path], dora=dora, tensor=tensor, file=self.file
            )
            sizes = sizes._replace(outputs=sizes.outputs + other.outputs)
        axes = _axes(role, sizes, self._settings.rank_of(name))
        self.file.check_shape(tensor, axes, self._settings.base)

    def check_whole(self) -> None:
        """Check that each module has all its tensors, and each target its module."""
        if not self.found:
            raise self.file.missing(
                "base_model.model.….lora_A.weight", ": it has none of any LoRA"
            )
        for name, roles in self.found.items():
            wanted: Iterable[Role] = ("a", "b")
            if any(role.startswith("embedding") for role in roles):
                wanted = ("embedding_a", "embedding_b")
            elif self._settings.dora:
                wanted = ("a", "b", "magnitude")
            for role in wanted:
                if role not in roles:
                    given = next(iter(roles.values()))
                    start = given[: given.rindex(f"{name}.") + len(name)]
                    raise self.file.missing(
                        f"{start}.{_SPELLED[role]}", f" that belongs to `{quoted(given)}`"
                    )
        self._check_targets()

    def _check_targets(self) -> None:
        """Check that no target was lost, where the config names the targets one by one.

        A module counts if the same part of another layer is adapted, or if no module at all is that
        the target names: mlx-lm has a few linear layers that PyTorch's model has not.
        """
        settings = self._settings
        if settings.targets is None or settings.excluded is None:
            return
        taken = {path for place in self._places.values() for path in place.paths}
        parts = {_in_layer(path) for path in taken}
        ends = {name.rpartition(".")[2] for name in self.found}
        for path in sorted(self._modules):
            sizes = sizes_of(self._modules[path])
            if sizes is None or sizes.kind != "linear" or path in taken:
                continue
            alike = _in_layer(path) in parts or path.rpartition(".")[2] not in ends
            if alike and settings.names(path):
                raise self.file.missing(
                    f"base_model.model.{path}.lora_A.weight",
                    f", although `target_modules` in {CONFIG} names its module",
                )

    def layers(self) -> list[AdaptedLayer]:
        """Return all layers that were found."""
        settings = self._settings
        return [
            AdaptedLayer(
                place, self.found[name], settings.rank_of(name), settings.scale_of(name)
            )
            for name, place in self._places.items()
        ]


def _in_layer(path: str) -> str:
    """Return a module's path with the number of its layer left out."""
    return re.sub(r"\.\d+\.", ".", path, count=1)


def _axes(role: Role, sizes: Sizes, rank: int) -> dict[str, int]:
    """Return the axes of a tensor as PEFT stores it, by name and in order."""
    if role == "magnitude":
        return {"outputs": sizes.outputs}
    if role in ("a", "embedding_a"):
        return {"rank": rank, "inputs": sizes.inputs}
    return {"outputs": sizes.outputs, "rank": rank}


def is_tied(modules: Mapping[str, nn.Module], embedding: nn.Module) -> bool:
    """Return True if no linear layer of the model has as many outputs as the embedding has ids."""
    own = sizes_of(embedding)
    others = (
        sizes_of(module) for module in modules.values() if not isinstance(module, EXPERTS)
    )
    return own is not None and not any(
        other is not None and other.kind == "linear" and other.outputs == own.inputs
        for other in others
    )
