"""Lists the environment variables that the worker keeps (`--scrub-env`) and its helper gets.

A host's environment holds secrets that no model needs. The template helper runs a program from
a model folder, so it never gets more than these.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Mapping

NEEDED = (
    # where things are, and in which language
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ"),
    *("TMPDIR", "TMP", "TEMP", "XDG_CACHE_HOME", "SYSTEMROOT", "WINDIR"),
    # Python, and the libraries it loads
    *("PYTHON*", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_*"),
    # the devices, and who computes on them
    *("MLX_*", "MTL_*", "METAL_*", "CUDA_*", "NVIDIA_*", "NCCL_*", "OMP_*"),
    *("RAYON_*", "TOKENIZERS_PARALLELISM"),
)
HUB = ("HF_*", "HUGGING*", "*_PROXY", "*_proxy", "SSL_CERT_*", "REQUESTS_CA_BUNDLE")
"""Also kept by a worker that may fetch models; the host's own hub token is among them."""


def kept(environment: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """Return the variables that match ``NEEDED`` or ``more``, patterns in which `*` is anything."""
    patterns = (*NEEDED, *more)
    return {
        name: value
        for name, value in environment.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


def scrub(more: Iterable[str], *, hub: bool) -> None:
    """Remove all variables but ``NEEDED``, ``more`` and, with ``hub``, ``HUB`` from this process.

    Processes that it starts later inherit what remains.
    """
    remaining = kept(os.environ, (*more, *(HUB if hub else ())))
    for name in os.environ.keys() - remaining.keys():
        del os.environ[name]
