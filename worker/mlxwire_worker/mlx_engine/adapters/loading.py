"""Loads an adapter beside a model that is in use."""

from __future__ import annotations

from pathlib import Path

from mlxwire_protocol import WireError

from ..loading import LoadedModel
from ..models.model_files import failed
from .formats import naming, read_adapter


def load_beside(loaded: LoadedModel, name: str, path: Path) -> None:
    """Read, check and load an adapter under a name. If it fails, nothing changes.

    Raises: WireError ``model_not_found``, ``model_load_failed`` or ``out_of_memory``.
    """
    adapter = read_adapter(path, loaded.adapters.modules)
    _check_memory(loaded, adapter.nbytes)
    try:
        with naming("path"):
            loaded.adapters.load(name, adapter)
    except (WireError, MemoryError):
        raise
    except Exception as error:  # a model may read a module's weight itself, past its adapter
        raise failed(
            "adapter",
            f"this model can't be computed with the adapter ({' '.join(str(error).split())[:200]}); "
            "use one that adapts linear layers alone",
            file="adapter_config.json",
            field="path",
        ) from None


def _check_memory(loaded: LoadedModel, nbytes: int) -> None:
    limit = loaded.guard.limit
    held = loaded.info.weight_bytes + loaded.adapters.nbytes
    if limit and held + nbytes > limit:
        raise WireError(
            "out_of_memory",
            f"the adapter needs {nbytes} bytes, and the model with its adapters has {held} of the "
            f"{limit} of `memory_limit`; unload another adapter, or raise the limit",
            data={"field": "path", "needed": nbytes, "limit": limit},
        )
