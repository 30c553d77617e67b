"""The `cache` and `memory` commands: what is held, and what the host changes about it."""

from __future__ import annotations

import mlx.core as mx

from mlxwire_protocol import invalid_params
from mlxwire_protocol.messages import Cache, Memory
from mlxwire_protocol.replies import CacheResult, MemoryResult

from ..engine import Prompt
from .cache import cache_files
from .loading import LoadedModel
from .models.paths import PathPolicy

_limits = {"buffer": 0, "wired": 0}
"""What the host set by `memory`, in bytes; MLX holds both for the whole process."""


def serve_cache(
    request: Cache, loaded: LoadedModel, paths: PathPolicy, warmed: Prompt | None
) -> CacheResult:
    """Do the action and tell the cache's state after it."""
    cache, affected = loaded.cache, 0
    match request.action:
        case "clear":
            affected = len(cache.tree)
            cache.clear()
        case "warm":
            # None where the cache's limit had no room for it.
            kept = warmed is not None and cache.holds(warmed.ids)
            affected = len(warmed.ids) if warmed and kept else 0
        case "save":
            affected = cache_files.save(paths.output(_path(request)), cache, _identity(loaded))
        case "load":
            path = paths.output(_path(request))
            affected = cache_files.load(
                path, cache, loaded.policy, _identity(loaded), loaded.info.vocab_size
            )
        case "stats":
            pass
    stats = cache.stats
    return CacheResult(
        id=request.id,
        entries=len(cache.tree),
        cached_bytes=cache.tree.nbytes,
        limit_bytes=cache.tree.budget,
        hits=stats.hits,
        misses=stats.misses,
        reused_tokens=stats.reused_tokens,
        evictions=stats.evictions,
        rejected=stats.rejected,
        affected=affected,
    )


def serve_memory(request: Memory, loaded: LoadedModel | None) -> MemoryResult:
    """Set what is given, then tell what is in use."""
    for name in ("memory_limit", "prompt_cache_limit"):
        if loaded is None and getattr(request, name) is not None:
            raise invalid_params(name, f"load a model first, or give `{name}` to `load`")
    if request.wired_limit is not None:
        try:
            mx.set_wired_limit(request.wired_limit)
        except ValueError as error:
            raise invalid_params("wired_limit", f"the device refuses it: {error}") from None
        _limits["wired"] = request.wired_limit
    if request.buffer_limit is not None:
        mx.set_cache_limit(request.buffer_limit)
        _limits["buffer"] = request.buffer_limit
    if loaded is not None:
        if request.memory_limit is not None:
            loaded.guard.limit = request.memory_limit
        if request.prompt_cache_limit is not None:
            loaded.cache.tree.budget = request.prompt_cache_limit
            loaded.cache.shrink(request.prompt_cache_limit)
    if request.clear:
        mx.clear_cache()
    return MemoryResult(
        id=request.id,
        active_bytes=mx.get_active_memory(),
        peak_bytes=mx.get_peak_memory(),
        buffer_bytes=mx.get_cache_memory(),
        sequence_bytes=loaded.runner.nbytes if loaded else 0,
        prompt_cache_bytes=loaded.cache.tree.nbytes if loaded else 0,
        memory_limit=loaded.guard.limit if loaded else 0,
        prompt_cache_limit=loaded.cache.tree.budget if loaded else 0,
        buffer_limit=_limits["buffer"],
        wired_limit=_limits["wired"],
        bytes_per_token=loaded.guard.bytes_per_token if loaded else 0,
    )


def _path(request: Cache) -> str:
    if request.path is None:
        raise invalid_params("path", f"`{request.action}` needs the field `path`")
    return request.path


def _identity(loaded: LoadedModel) -> str:
    return cache_files.fingerprint(loaded.files, loaded.policy.fingerprint, loaded.template)
