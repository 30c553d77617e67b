"""Lists the environment variables that the worker keeps with `--scrub-env`.

A host's environment may hold secrets that no model needs. The template process runs a program
from a model folder, so it always gets these variables only.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Mapping

from .import_path import forget_host_path

NEEDED = (
    # paths, the user and the language
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ"),
    *("TMPDIR", "TMP", "TEMP", "XDG_CACHE_HOME", "SYSTEMROOT", "WINDIR"),
    # Python's behaviour, but none of its variables that load code; the libraries it needs
    *("PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE", "PYTHONUNBUFFERED"),
    *("PYTHONHASHSEED", "PYTHONSAFEPATH", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE"),
    *("PYTHONFAULTHANDLER", "PYTHONMALLOC", "PYTHONOPTIMIZE", "PYTHONINTMAXSTRDIGITS"),
    *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH"),
    *("DYLD_FALLBACK_LIBRARY_PATH", "DYLD_FALLBACK_FRAMEWORK_PATH"),
    # devices and the libraries that compute on them
    *("MLX_*", "MTL_*", "METAL_*", "CUDA_*", "NVIDIA_*", "NCCL_*", "OMP_*"),
    *("RAYON_*", "TOKENIZERS_PARALLELISM"),
)
LOADING = ("PYTHON*",)
"""A helper gets these too. They may load code: the host trusts them, or has them scrubbed here."""
HUB = ("HF_*", "HUGGING*", "*_PROXY", "*_proxy", "SSL_CERT_*", "REQUESTS_CA_BUNDLE")
"""Kept as well by a worker that may fetch models; they include the host's hub token."""


def kept(environment: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """Return the variables whose names match a pattern (with `*`) of ``NEEDED`` or ``more``."""
    patterns = (*NEEDED, *more)
    return {
        name: value
        for name, value in environment.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


def scrub(more: Iterable[str], *, hub: bool) -> None:
    """Remove this process's environment variables, except those that match a kept pattern.

    The patterns are ``NEEDED``, ``more`` and, if ``hub`` is True, ``HUB``. Unless ``PYTHONPATH`` is
    kept, Python no longer looks for modules in its folders either. Child processes that are
    started later inherit the remaining variables.
    """
    remaining = kept(os.environ, (*more, *(HUB if hub else ())))
    if "PYTHONPATH" not in remaining:
        forget_host_path()
    for name in os.environ.keys() - remaining.keys() - {"PYTHONPATH"}:
        del os.environ[name]
