"""Finds the adapters that stand beside a model's weights.

An adapter below a model's folder belongs to the model. One beside the folder belongs to it if its
tensors fit the model's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..models.model_files import ADAPTER_CONFIG, is_text
from ..models.safetensors_header import StoredTensor, read_header
from .packing import Tensors

ADAPTER_FILES = {"adapter_model.safetensors": "peft", "adapters.safetensors": "mlx"}
_COLLECTION = "adapters"
_MOST_ENTRIES = 4096
"""The most entries of a folder that are looked at for adapters."""
_ROWS = re.compile(
    r"(?:base_model\.model\.)?(.+)\.(?:lora_b|lora_B\.weight|lora_B\.default\.weight)"
)


class FoundAdapter(NamedTuple):
    """An adapter's folder, its format, and the rows of each weight that it changes, by path.

    The rows are None for a weight of another shape, such as that of experts.
    """

    path: str
    form: str
    rows: dict[str, int | None]


class Adapters:
    """The adapters of the folders that one discovery has seen. Each folder is listed once."""

    def __init__(self) -> None:
        self._beside: dict[str, list[FoundAdapter]] = {}

    def of_model(self, folder: Path, tensors: Tensors) -> list[dict[str, str]]:
        """Return path and format of each adapter below a model's folder, or beside it and fitting."""
        parent = str(folder.parent)
        if parent not in self._beside:
            self._beside[parent] = list(_adapters_in(parent))
        fitting = [each for each in self._beside[parent] if _fits(each, tensors)]
        found = {each.path: each.form for each in (*_adapters_in(str(folder)), *fitting)}
        return [{"path": path, "format": form} for path, form in sorted(found.items())]


def is_adapter(names: set[str]) -> bool:
    """Return True if a folder with these files holds an adapter and no model."""
    weights = {name for name in names if name.endswith((".safetensors", ".bin"))}
    return ADAPTER_CONFIG in names and weights <= {*ADAPTER_FILES, "adapter_model.bin"}


def _adapters_in(folder: str) -> Iterator[FoundAdapter]:
    """Yield the adapters in the folders of a folder, and in those of its folder `adapters`."""
    for each in _subfolders(folder):
        if (adapter := _read_adapter(each)) is not None:
            yield adapter
        elif os.path.basename(each) == _COLLECTION:
            yield from filter(None, map(_read_adapter, _subfolders(each)))


def _subfolders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            listed = [entry for entry, _ in zip(entries, range(_MOST_ENTRIES), strict=False)]
        return sorted(entry.path for entry in listed if entry.name[0] != "." and entry.is_dir())
    except OSError:
        return []


def _read_adapter(folder: str) -> FoundAdapter | None:
    if not os.path.isfile(os.path.join(folder, ADAPTER_CONFIG)):
        return None
    for name, form in ADAPTER_FILES.items():
        file = Path(folder, name)
        if file.is_file():
            try:
                tensors = read_header(file)
            except (OSError, ValueError):
                return None
            path = os.path.realpath(folder)
            if not is_text(path):
                return None
            return FoundAdapter(path, form, _rows(tensors, form))
    return None


def _rows(tensors: dict[str, StoredTensor], form: str) -> dict[str, int | None]:
    """Return how many rows the weights have that an adapter changes, by their paths."""
    last = 0 if form == "peft" else -1
    return {
        found[1]: tensor.shape[last] if len(tensor.shape) == 2 else None
        for name, tensor in tensors.items()
        if (found := _ROWS.fullmatch(name))
    }


def _fits(adapter: FoundAdapter, tensors: Tensors) -> bool:
    """Return True if the model has every weight that the adapter changes, in the same size."""

    def fits(path: str, rows: int | None) -> bool:
        weight = tensors.get(f"{path}.weight") or tensors.get(f"model.{path}.weight")
        return weight is not None and rows in (None, weight.shape[0] if weight.shape else 0)

    return bool(adapter.rows) and all(fits(*each) for each in adapter.rows.items())
