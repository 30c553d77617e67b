"""Opens the model to convert, of mlx-lm or an encoder: its module tree, with its weights on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..mlx_engine.encoders.building import build_encoder
from ..mlx_engine.encoders.families import is_encoder, module_names, read_shape
from ..mlx_engine.models.module_tree import build_tree
from ..mlx_engine.models.preflight import CheckedModel


class Opened(NamedTuple):
    """A module tree, and the function from its parameters' names to those in the files."""

    model: Any
    stored_name: Callable[[str], str]


def open_tree(checked: CheckedModel) -> Opened:
    """Build the module tree of a checked folder, as a load does. Raises: WireError."""
    if not is_encoder(checked.config):
        return Opened(build_tree(checked, lambda: None).model, str)
    shape = read_shape(checked.config)
    built = build_encoder(checked, shape, lambda: None)
    theirs = dict(module_names(shape))

    def stored_name(name: str) -> str:
        module, _, end = name.rpartition(".")
        return f"{theirs[module]}.{end}"

    return Opened(built.model, stored_name)
