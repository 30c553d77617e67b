"""Finds the module of the model that a tensor of a PEFT adapter is for.

The names are those of PyTorch's modules. mlx-lm has most under the same name, perhaps below other
wrappers (``language_model.``); it stacks the experts of a layer into one module, and has some parts
under other names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from mlx import nn

from ..layers import EXPERTS

Role = Literal["a", "b", "embedding_a", "embedding_b", "magnitude"]
_KEY = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+)\."
    r"(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(?:\.(?!(?:weight|bias)$)(?P<adapter>[^.]+))?(?:\.weight)?"
)
_ROLES: dict[str, Role] = {
    "lora_A": "a",
    "lora_B": "b",
    "lora_embedding_A": "embedding_a",
    "lora_embedding_B": "embedding_b",
    "lora_magnitude_vector": "magnitude",
}
_WRAPPERS = frozenset(
    {"model", "language_model", "text_model", "transformer", "backbone", "gpt_neox"}
)
"""Parts that one of the two trees may have at the beginning of a path and the other not."""
_OTHER_NAMES = (
    (re.compile(r"^layers\."), "h."),
    (re.compile(r"\.w1$"), ".gate_proj"),
    (re.compile(r"\.w2$"), ".down_proj"),
    (re.compile(r"\.w3$"), ".up_proj"),
    (re.compile(r"\.switch_mlp\.up_proj$"), ".switch_mlp.fc1"),
    (re.compile(r"\.switch_mlp\.down_proj$"), ".switch_mlp.fc2"),
    (re.compile(r"\.block_sparse_moe\."), ".mlp."),
    (re.compile(r"\.shared_mlp\.output_linear$"), ".mlp.down_proj"),
    (re.compile(r"^(layers\.\d+)\.share_expert\."), r"\1.mlp.share_expert."),
)
"""Renamings by the ``sanitize`` of mlx-lm's architectures, for names that the tree lacks."""
_SPLIT = ((re.compile(r"\.shared_mlp\.input_linear$"), (".mlp.gate_proj", ".mlp.up_proj")),)
"""Layers that mlx-lm's architectures take apart, and the parts in the order of their outputs."""
_EXPERT = re.compile(r"(.+)\.experts\.(\d{1,9})\.(\w+)")


class Key(NamedTuple):
    """A tensor's name, in its parts. ``adapter`` is empty where the name has none."""

    module: str
    role: Role
    adapter: str


def parsed(tensor: str) -> Key | None:
    """Return what a tensor's name says; None for one that is no part of a LoRA."""
    found = _KEY.fullmatch(tensor)
    if found is None:
        return None
    return Key(found["module"], _ROLES[found["part"]], found["adapter"] or "")


class Place(NamedTuple):
    """A module's path in the model, and which of its experts is meant, None without experts.

    ``others`` are the paths of modules that take equal shares of the outputs, behind the first.
    """

    path: str
    expert: int | None = None
    others: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths of all modules."""
        return self.path, *self.others


class Places:
    """The places of a model's modules by PyTorch's names."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules
        self._paths: dict[str, str | None] = {}
        for path in modules:
            core = _core(path)
            self._paths[core] = None if core in self._paths else path

    def find(self, module: str) -> Place | None:
        """Return the place of a module by its name in PyTorch; None if the model has none."""
        if module in self._modules:
            return Place(module)
        core = _core(module)
        if (path := self._found(core)) is not None:
            return Place(path)
        for pattern, parts in _SPLIT:
            paths = [self._found(pattern.sub(part, core)) for part in parts]
            known = [path for path in paths if path is not None]
            if pattern.search(core) and len(known) == len(parts):
                return Place(known[0], None, tuple(known[1:]))
        expert = _EXPERT.fullmatch(core)
        if expert is None:
            return None
        block, number, part = expert.groups()
        for stacked in (f"{block}.switch_mlp.{part}", f"{block}.experts.{part}"):
            path = self._found(stacked)
            if path is not None and isinstance(self._modules[path], EXPERTS):
                return Place(path, int(number))
        return None

    def _found(self, core: str) -> str | None:
        """Return the path of a core, or of its first renaming that the tree has."""
        once = dict.fromkeys(pattern.sub(other, core) for pattern, other in _OTHER_NAMES)
        twice = (pattern.sub(other, each) for each in once for pattern, other in _OTHER_NAMES)
        for name in (core, *once, *twice):
            if path := self._paths.get(name):
                return path
        return None


def _core(path: str) -> str:
    parts = path.split(".")
    while len(parts) > 1 and parts[0] in _WRAPPERS:
        del parts[0]
    return ".".join(parts)
