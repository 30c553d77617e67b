"""Remember which worker has the beginning of a prompt in its prompt cache.

A prompt is known by the hashes of its beginnings. So a chat is recognized by the turns before,
and a document by its first pages. No text is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

BLOCK_CHARS = 256
MOST_BLOCKS = 512
"""Blocks of a prompt that are looked at; prompts that share 128 Ki characters share enough."""
REMEMBERED_BEGINNINGS = 8192


def beginnings(fields: Mapping[str, Any]) -> list[int]:
    """Return the hashes of a request's beginnings, shortest first.

    A beginning ends after each block of a text and after each message of a conversation.
    """
    hashes: list[int] = []
    for block in islice(_blocks(fields), MOST_BLOCKS):
        hashes.append(hash((hashes[-1] if hashes else 0, block)))
    return hashes


def _blocks(fields: Mapping[str, Any]) -> Iterator[str]:
    if "messages" in fields:
        turns = fields["messages"]
        if turns and not isinstance(turns[0], Mapping):
            turns = turns[0]  # the first of many conversations
        for message in turns:
            yield from _cut(f"{message.get('role')}: {message.get('content')}", whole=True)
    elif "prompts" in fields:
        yield from _cut(next(iter(fields["prompts"]), ""), whole=False)
    elif isinstance(fields.get("prompt"), str):
        yield from _cut(fields["prompt"], whole=False)


def _cut(text: str, *, whole: bool) -> Iterator[str]:
    """Cut a text into blocks; yield a last block that is shorter only if ``whole``."""
    for start in range(0, len(text), BLOCK_CHARS):
        block = text[start : start + BLOCK_CHARS]
        if whole or len(block) == BLOCK_CHARS:
            yield block


class PrefixMemory:
    """The beginnings that one worker computed lately."""

    def __init__(self, limit: int = REMEMBERED_BEGINNINGS) -> None:
        self._limit = limit
        self._known: OrderedDict[int, None] = OrderedDict()

    def depth(self, hashes: Sequence[int]) -> int:
        """Return how many of a prompt's beginnings the worker has computed."""
        for depth in range(len(hashes), 0, -1):
            if hashes[depth - 1] in self._known:
                return depth
        return 0

    def remember(self, hashes: Iterable[int]) -> None:
        """Record beginnings that the worker computes now; forget the oldest ones."""
        for key in hashes:
            self._known[key] = None
            self._known.move_to_end(key)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self) -> None:
        """Forget all beginnings, because the worker's cache is gone."""
        self._known.clear()
