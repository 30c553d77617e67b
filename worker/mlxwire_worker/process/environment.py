"""What of the host's environment the worker keeps (`--scrub-env`) and its helper is given.

A host's environment carries secrets that no model needs. The template helper, which runs a
model folder's program, never gets more than is listed here.
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
"""Needed by a worker that may fetch models: among them the host's own token for the hub."""


def kept(environment: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """The variables that are needed, or match one of ``more`` (`*` stands for anything)."""
    patterns = (*NEEDED, *more)
    return {
        name: value
        for name, value in environment.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


def scrub(more: Iterable[str], *, hub: bool) -> None:
    """Take every other variable out of this process, and so out of all that it starts."""
    remaining = kept(os.environ, (*more, *(HUB if hub else ())))
    for name in os.environ.keys() - remaining.keys():
        del os.environ[name]
