"""Finds which settings of config.json a module of mlx-lm uses, by the names in its source.

A field that ModelArgs declares and nothing uses is dropped all the same, so a declaration does
not count. No table of modules is kept: the next mlx-lm's modules are read as they are.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

_PACKAGE = "mlx_lm.models."
_NOT_OF_THE_MODEL = {
    f"{_PACKAGE}{name}" for name in ("base", "cache", "pipeline", "rope_utils")
}
"""Every architecture imports these, so a name in their sources tells nothing of one of them."""


class Used(NamedTuple):
    """Names of settings, numbers and identifiers that stand in the source of some modules."""

    names: frozenset[str]
    numbers: frozenset[float]
    identifiers: frozenset[str]


def used_by(model: Any) -> Used:
    """Return what stands in the sources of a model's modules and of the helpers they import."""
    waiting = {
        base.__module__
        for kind in {type(module) for module in model.modules()}
        for base in kind.__mro__
        if base.__module__.startswith(_PACKAGE)
    }
    parts: dict[str, Used] = {}
    while waiting:
        name = waiting.pop()
        if name in parts or name in _NOT_OF_THE_MODEL or name not in sys.modules:
            continue
        module = sys.modules[name]
        parts[name] = _used_in(module)
        waiting.update(_helpers(module))
    return Used(*(frozenset().union(*part) for part in zip(*parts.values(), strict=True)))


def names_in(module: str) -> frozenset[str]:
    """Return the names of settings and the strings that stand in a module's source."""
    return _used_in(sys.modules[module]).names


def _helpers(module: ModuleType) -> Iterator[str]:
    """Yield the modules that a module imports things from, other architectures left out."""
    for value in vars(module).values():
        name = value.__name__ if isinstance(value, ModuleType) else _origin(value)
        if name.startswith(_PACKAGE) and not hasattr(sys.modules.get(name), "ModelArgs"):
            yield name


def _origin(value: Any) -> str:
    origin = getattr(value, "__module__", None)
    return origin if isinstance(origin, str) else ""


@lru_cache(maxsize=64)
def _used_in(module: ModuleType) -> Used:
    names: set[str] = set()
    numbers: set[float] = set()
    identifiers: set[str] = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Attribute):
            identifiers.add(node.attr)
            if isinstance(node.ctx, ast.Load):
                names.add(node.attr)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                names.add(node.value)
            elif isinstance(node.value, int | float):
                numbers.add(float(node.value))
        elif isinstance(node, ast.Name):
            identifiers.add(node.id)
        elif isinstance(node, ast.keyword) and node.arg is not None:
            identifiers.add(node.arg)
    return Used(frozenset(names), frozenset(numbers), frozenset(identifiers))
