"""Which worker has seen the beginning of a prompt: there its keys and values are cached.

A prompt is known by the hashes of its beginnings, so a chat is recognised by the turns before
and a document by its first pages; no text is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

BLOCK_CHARS = 256
MOST_BLOCKS = 512
"""Of a prompt so many blocks are looked at; who shares 128 Ki characters shares enough."""
REMEMBERED_BEGINNINGS = 8192


def beginnings(fields: Mapping[str, Any]) -> list[int]:
    """The hashes of a request's beginnings, shortest first: after each block and each message."""
    hashes: list[int] = []
    for block in islice(_blocks(fields), MOST_BLOCKS):
        hashes.append(hash((hashes[-1] if hashes else 0, block)))
    return hashes


def _blocks(fields: Mapping[str, Any]) -> Iterator[str]:
    if "messages" in fields:
        for message in fields["messages"]:
            yield from _cut(f"{message.get('role')}: {message.get('content')}", whole=True)
    elif "prompts" in fields:
        yield from _cut(next(iter(fields["prompts"]), ""), whole=False)
    elif isinstance(fields.get("prompt"), str):
        yield from _cut(fields["prompt"], whole=False)


def _cut(text: str, *, whole: bool) -> Iterator[str]:
    """Blocks of a text; ``whole``: the last one too, though it is short."""
    for start in range(0, len(text), BLOCK_CHARS):
        block = text[start : start + BLOCK_CHARS]
        if whole or len(block) == BLOCK_CHARS:
            yield block


class PrefixMemory:
    """The beginnings that one worker has computed lately."""

    def __init__(self, limit: int = REMEMBERED_BEGINNINGS) -> None:
        self._limit = limit
        self._known: OrderedDict[int, None] = OrderedDict()

    def depth(self, hashes: Sequence[int]) -> int:
        """How many of a prompt's beginnings it has computed."""
        for depth in range(len(hashes), 0, -1):
            if hashes[depth - 1] in self._known:
                return depth
        return 0

    def remember(self, hashes: Iterable[int]) -> None:
        """It computes these now; the oldest are forgotten."""
        for key in hashes:
            self._known[key] = None
            self._known.move_to_end(key)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self) -> None:
        """Its cache is gone."""
        self._known.clear()
