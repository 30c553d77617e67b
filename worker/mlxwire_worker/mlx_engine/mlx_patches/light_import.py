"""Imports mlx_lm without what it drags along and without what it does to the process.

Measured (ENGINE.md §2, §15, §16): `import mlx_lm` spends 0.67 of its 0.8 s in transformers and
huggingface_hub, lowers RLIMIT_NOFILE for good, and later raises the wired limit by itself.
Here the two packages are placeholders while it is imported, and both limits are left alone.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_PLACEHOLDERS = (
    "transformers",
    "transformers.tokenization_utils_base",
    "huggingface_hub",
)


def import_mlx_lm() -> None:
    """Import mlx_lm once, lightly. Afterwards transformers imports as ever, when it is needed.

    Raises: ImportError where the ``[mlx]`` extra is not installed.
    """
    if "mlx_lm" in sys.modules:
        return
    with _unchanged_descriptor_limit(), _placeholders():
        # Not `mlx_lm.generate`: the package exports a function of that name over the module.
        generate: Any = import_module("mlx_lm.generate")
        utils: Any = import_module("mlx_lm.utils")
        import_module("mlx_lm.tokenizer_utils")
    utils.snapshot_download = _snapshot_download
    generate.maybe_set_recommended_wired_limit = _leave_wired_limit


def _leave_wired_limit() -> None:
    """Stands in for mlx-lm's implicit raise of the wired limit (mlx#3186: kernel panics)."""


def _snapshot_download(*args: Any, **kwargs: Any) -> Any:
    """huggingface_hub's function, imported when a host that allows the hub first needs it."""
    from huggingface_hub import snapshot_download

    return snapshot_download(*args, **kwargs)


@contextmanager
def _unchanged_descriptor_limit() -> Iterator[None]:
    original = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        yield
    finally:
        resource.setrlimit = original


@contextmanager
def _placeholders() -> Iterator[None]:
    absent = [name for name in _PLACEHOLDERS if name not in sys.modules]
    for name in absent:
        sys.modules[name] = _Placeholder(name)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


class _Placeholder(ModuleType):
    """A module whose every public name is an empty class that can be registered to."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)

        def accept(*_args: object, **_kwargs: object) -> None:
            """Registrations of tokenizer classes, which this worker does not look up."""

        return type(name, (), {"register": staticmethod(accept)})
