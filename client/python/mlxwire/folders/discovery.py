"""The stream of `Worker.discover`, and its items."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlxwire_protocol.models.replies import FoundAdapter, FoundModel

from ..errors import MlxwireError
from ..item_stream import ItemStream
from ..options import Path
from ..results import convert_reply
from ..texts.results import failure_of

__all__ = ["BrokenModel", "DiscoverStream", "FoundAdapter", "FoundModel", "convert_model"]


class BrokenModel(msgspec.Struct, kw_only=True, frozen=True):
    """A folder that looks like a model, and that `Worker.load` would refuse with ``error``."""

    index: int
    path: str
    name: str
    error: MlxwireError


class _BrokenItem(msgspec.Struct):
    """The fields of a broken model beside its error."""

    index: int
    path: str
    name: str


class DiscoverStream(ItemStream[FoundModel | BrokenModel]):
    """The stream of `Worker.discover`: an async iterator over `FoundModel` and `BrokenModel`.

    A model comes as soon as its folder is read. Awaited, it gives all of them.
    """


def convert_model(message: Mapping[str, Any]) -> FoundModel | BrokenModel:
    """Convert an `item` of a discover. Raises: ProtocolViolation."""
    error = failure_of(message)
    if error is None:
        return convert_reply(message, FoundModel)
    item = convert_reply(message, _BrokenItem)
    return BrokenModel(index=item.index, path=item.path, name=item.name, error=error)


def folders_of(paths: Path | Sequence[Path]) -> list[str]:
    """Return one folder, or several, as a list for the wire."""
    if isinstance(paths, str | os.PathLike):
        return [os.fspath(paths)]
    return [os.fspath(path) for path in paths]
