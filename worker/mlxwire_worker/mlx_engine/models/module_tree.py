"""Builds a model's module tree from its config as the module reads it; no weight is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mlx.core as mx
from mlx import nn
from mlx_lm import utils as mlx_lm_utils
from mlx_lm.models.cache import make_prompt_cache

from mlxwire_protocol import WireError

from ...engine import Cancelled
from ..mlx_patches.chosen_weights import reading
from .build_failures import Stage, detail_of, explained, is_unserved
from .config.bare import BareTrunk
from .config.fields import Settings, check_fields
from .config.reading import used_by
from .config.synonyms import as_read
from .config.windows import unused_lengths
from .config.work import BoundedWork, TooMuchWork, without_huge_counts
from .preflight import CheckedModel
from .quantization import foreign_method, unreadable
from .soundness import refuse_other_kinds

MOST_TABLE_BYTES = 1 << 28
"""The most that the arrays beside the weights may take: tables of frequencies and masks."""


class ModuleTree(NamedTuple):
    """A module tree with its weights still on disk, and lengths past which it would be wrong.

    A ``headless`` one has hidden states and no logits of its own.
    """

    model: Any
    config: dict[str, Any]
    unused_lengths: dict[str, int]
    headless: bool


def build_tree(checked: CheckedModel, heard: Callable[[], None]) -> ModuleTree:
    """Build the module tree of a checked folder, compare it with the weights, and trace a step.

    ``heard`` is called during long work, and may raise to end it.
    Raises: WireError ``model_load_failed`` or ``unsupported_model``.
    """
    making = _Making(BareTrunk(checked.path, checked.config, checked.tensors))
    try:
        with BoundedWork(len(checked.tensors), heard), reading(checked.shards):
            model, config = mlx_lm_utils.load_model(
                checked.path, lazy=True, strict=True, get_model_classes=making.classes
            )
            making.stage = "forward"
            caches = make_prompt_cache(model)
            if any(getattr(layer, "max_size", 1) < 1 for layer in caches):
                raise ValueError("a window of no tokens")
            for ids in ([0, 0], [0]):  # lazy: shapes and types alone are worked out
                model(mx.array([ids]), cache=caches)
        if sum(array.nbytes for array in private_arrays(model)) > MOST_TABLE_BYTES:
            raise TooMuchWork("tables that are too long")
    except (MemoryError, WireError, Cancelled):
        raise
    except (Exception, SystemExit) as error:  # architectures raise whatever a number leads to
        method = foreign_method(checked.config)
        loading = making.stage in ("weights", "forward")
        if method is not None and loading and not is_unserved(error):
            raise unreadable(method, detail_of(error)) from None
        raise explained(error, making.stage, checked.config["model_type"]) from None
    settings = Settings(_text(making.read), model, used_by(model))
    check_fields(settings)
    lengths = dict(unused_lengths(settings, caches))
    return ModuleTree(model, config, lengths, making.trunk.headless)


def private_arrays(model: Any) -> Iterator[mx.array]:
    """Yield the arrays that modules hold beside their parameters, by mlx's rule for names."""
    for module in model.modules():
        hidden = (value for name, value in module.items() if name.startswith("_"))
        for value in (*vars(module).values(), *hidden):
            if isinstance(value, mx.array):
                yield value


class _Making:
    """The classes that mlx-lm builds a model with, which note how far it has come."""

    def __init__(self, trunk: BareTrunk) -> None:
        self.trunk = trunk
        self.stage: Stage = "import"
        self.read: dict[str, Any] = {}

    def classes(self, config: dict[str, Any]) -> tuple[Any, Any]:
        """Return what takes the places of an architecture's Model and ModelArgs."""
        model_class, arguments_class = mlx_lm_utils._get_classes(config)
        making = self

        class Arguments:
            @staticmethod
            def from_dict(config: dict[str, Any]) -> Any:
                making.stage = "arguments"
                making.read = as_read(without_huge_counts(config), arguments_class)
                making.trunk.complete(making.read, arguments_class)
                return arguments_class.from_dict(making.read)

        def build(arguments: Any) -> nn.Module:
            making.stage = "modules"
            model: nn.Module = model_class(arguments)
            refuse_other_kinds(model)
            making.trunk.rename(model)
            making.stage = "weights"
            return model

        return build, Arguments


def _text(config: dict[str, Any]) -> dict[str, Any]:
    text = config.get("text_config")
    return text if isinstance(text, dict) else config
