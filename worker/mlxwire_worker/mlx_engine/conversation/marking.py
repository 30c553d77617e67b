"""Reads and marks every text of a turn or a tool, whatever the depth at which it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_FREE = frozenset({"arguments", "parameters"})
"""The objects whose keys a host chooses; the other keys are those that templates look up."""


def texts_of(value: object) -> Iterator[str]:
    """Yield each text in a turn or a tool, keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from texts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_of(inner)


def with_marks(value: Any, mark: Callable[[str], str], *, keys: bool = False) -> Any:
    """Return a copy of a value in which ``mark`` has marked each text.

    Keys are marked below arguments and schemas alone, and everywhere if ``keys`` is set.
    """
    if isinstance(value, str):
        return mark(value)
    if isinstance(value, dict):
        return {
            (mark(key) if keys else key): with_marks(inner, mark, keys=keys or key in _FREE)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [with_marks(inner, mark, keys=keys) for inner in value]
    return value
