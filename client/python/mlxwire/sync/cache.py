"""The prompt cache of a loaded model, blocking."""

# Written by generate_sync.py from mlxwire/cache.py: change that file, then run the script.

from __future__ import annotations

from mlxwire_protocol.results import CacheResult

from ..cache import PromptCache as AsyncPromptCache
from ..options import Messages, Path, Tools
from .base import ThreadUser


class PromptCache(ThreadUser[AsyncPromptCache]):
    """The attribute `Model.cache`.

    Each method returns the cache's state after it; ``affected`` counts what the method did.
    """

    def stats(self, *, timeout: float | None = None) -> CacheResult:
        """Return how much the cache holds and how often it was used."""
        return self._thread.call(self._aio.stats(timeout=timeout))

    def clear(self, *, timeout: float | None = None) -> CacheResult:
        """Drop everything in the cache."""
        return self._thread.call(self._aio.clear(timeout=timeout))

    def warm(
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
        return self._thread.call(
            self._aio.warm(
                prompt, messages=messages, tools=tools, adapter=adapter, timeout=timeout
            )
        )

    def save(self, path: Path, *, timeout: float | None = None) -> CacheResult:
        """Write the cache to a file of the worker; with ``--data-root``, below that folder."""
        return self._thread.call(self._aio.save(path, timeout=timeout))

    def load(self, path: Path, *, timeout: float | None = None) -> CacheResult:
        """Read a file of `save`, made with the same model, adapter and KV configuration."""
        return self._thread.call(self._aio.load(path, timeout=timeout))
