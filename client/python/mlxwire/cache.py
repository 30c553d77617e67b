"""The prompt cache of a loaded model: what earlier prompts computed, and may be used again."""

from __future__ import annotations

from typing import Any

from mlxwire_protocol.results import CacheResult

from .connection.route import Route
from .options import Messages, Path, chat_messages, set_fields
from .requests.pending import ask
from .results import convert_reply


class PromptCache:
    """`Model.cache`. Every method tells the cache's state after it; ``affected`` is what it did."""

    def __init__(self, route: Route) -> None:
        self._route = route

    async def stats(self, *, timeout: float | None = None) -> CacheResult:
        """What it holds, and how often it helped."""
        return await self._do("stats", timeout)

    async def clear(self, *, timeout: float | None = None) -> CacheResult:
        """Drop all of it."""
        return await self._do("clear", timeout)

    async def warm(
        self,
        prompt: str | None = None,
        *,
        messages: Messages | None = None,
        timeout: float | None = None,
    ) -> CacheResult:
        """Compute a prompt, as for `generate`, or a conversation, as for `chat`, for later.

        ``affected`` is how many tokens it has.
        """
        turns = None if messages is None else chat_messages(messages)
        return await self._do("warm", timeout, prompt=prompt, messages=turns)

    async def save(self, path: Path, *, timeout: float | None = None) -> CacheResult:
        """Write it to a file; below ``--data-root`` alone, where the worker was given that."""
        return await self._do("save", timeout, path=path)

    async def load(self, path: Path, *, timeout: float | None = None) -> CacheResult:
        """Read what `save` wrote, for this very model, adapter and KV configuration."""
        return await self._do("load", timeout, path=path)

    async def _do(self, action: str, timeout: float | None, **fields: Any) -> CacheResult:
        asked = set_fields(action=action, **fields)
        return convert_reply(await ask(self._route, "cache", asked, timeout), CacheResult)
