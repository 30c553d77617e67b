"""The prompt cache of a loaded model: keys and values of earlier prompts, kept for reuse."""

from __future__ import annotations

from typing import Any

from mlxwire_protocol.results import CacheResult

from .options import Messages, Path, Tools, chat_messages, set_fields
from .requests.pending import ask
from .requests.route import Connector
from .results import convert_reply


class PromptCache:
    """The attribute `Model.cache`.

    Each method returns the cache's state after it; ``affected`` counts what the method did.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    async def stats(self, *, timeout: float | None = None) -> CacheResult:
        """Return how much the cache holds and how often it was used."""
        return await self._do("stats", timeout)

    async def clear(self, *, timeout: float | None = None) -> CacheResult:
        """Drop everything in the cache."""
        return await self._do("clear", timeout)

    async def warm(
        self,
        prompt: str | None = None,
        *,
        messages: Messages | None = None,
        tools: Tools | None = None,
        adapter: str | None = None,
        timeout: float | None = None,
    ) -> CacheResult:
        """Compute a prompt of `generate`, or a conversation of `chat`, for later requests.

        ``tools`` are those of the conversation, ``adapter`` that of the later requests.
        ``affected`` is the number of tokens.
        """
        turns = None if messages is None else chat_messages(messages)
        return await self._do(
            "warm", timeout, prompt=prompt, messages=turns, tools=tools, adapter=adapter
        )

    async def save(self, path: Path, *, timeout: float | None = None) -> CacheResult:
        """Write the cache to a file of the worker; with ``--data-root``, below that folder."""
        return await self._do("save", timeout, path=path)

    async def load(self, path: Path, *, timeout: float | None = None) -> CacheResult:
        """Read a file of `save`, made with the same model, adapter and KV configuration."""
        return await self._do("load", timeout, path=path)

    async def _do(self, action: str, timeout: float | None, **fields: Any) -> CacheResult:
        asked = set_fields(action=action, **fields)
        return convert_reply(await ask(self._connector, "cache", asked, timeout), CacheResult)
