"""Imports mlx_lm without its slow dependencies and without its changes to the process.

Replaces four parts of mlx-lm 0.32.2 (measured in docs/engine-notes.md §2, §15, §16):
- `transformers` and `huggingface_hub` are placeholders during the import. They take 0.67 s of its
  0.8 s, and a folder with a tokenizer.json needs neither.
- `resource.setrlimit` does nothing during the import. mlx-lm lowers RLIMIT_NOFILE to 2048, which
  an unprivileged process cannot undo.
- `mlx_lm.utils.snapshot_download` imports huggingface_hub at its first call.
- `mlx_lm.generate.maybe_set_recommended_wired_limit` does nothing. It raises the wired limit, which
  has led to kernel panics (mlx#3186).
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


_imported = False
"""True after a whole import: one that failed in the middle leaves `mlx_lm` in `sys.modules`."""


def import_mlx_lm() -> None:
    """Import mlx_lm, unless it is imported already.

    Afterwards `transformers` can be imported as usual. Raises: ImportError if the ``[mlx]`` extra
    is not installed.
    """
    global _imported
    if _imported:
        return
    with _unchanged_descriptor_limit(), _placeholders():
        # `mlx_lm.generate` as an attribute is a function: the package shadows the module.
        generate: Any = import_module("mlx_lm.generate")
        utils: Any = import_module("mlx_lm.utils")
        import_module("mlx_lm.tokenizer_utils")
    utils.snapshot_download = _snapshot_download
    generate.maybe_set_recommended_wired_limit = _leave_wired_limit
    _imported = True


def _leave_wired_limit() -> None:
    """Do nothing, in place of mlx-lm's function that raises the wired limit."""


def _snapshot_download(*args: Any, **kwargs: Any) -> Any:
    """Call huggingface_hub's function, which is imported here, at its first use."""
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
    """A module in which every public name is an empty class with a `register` method."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)

        def accept(*_args: object, **_kwargs: object) -> None:
            """Ignore the registration of a tokenizer class, which the worker never looks up."""

        return type(name, (), {"register": staticmethod(accept)})
