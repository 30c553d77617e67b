"""Chooses the files of a repository that a model is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatch

from mlxwire_protocol import WireError

_KEPT = (
    *("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.jsonl"),
    *("LICENSE*", "NOTICE*"),
)
_OTHER_WEIGHTS = ("*.bin", "*.gguf", "*.onnx", "*.pth", "*.pt", "*.npz", "*.h5", "*.msgpack")
_CONSOLIDATED = "consolidated*.safetensors"
_FOLDERS = re.compile(r"\d+_\w+|additional_chat_templates")
"""Folders of sentence-transformers' modules, and of further chat templates."""


def choose(name: str, files: Iterable[str]) -> set[str]:
    """Return the files to download of the repository ``name``.

    These are weights as safetensors, settings, tokenizer and templates; of a model that is there
    twice, the form that mlx-lm reads. Raises: WireError ``unsupported_model`` without safetensors.
    """
    chosen = {file for file in files if _belongs(file)}
    if any(fnmatch(file, "model*.safetensors") for file in chosen):
        chosen = {file for file in chosen if not fnmatch(file, _CONSOLIDATED)}
    if not any(file.endswith(".safetensors") and "/" not in file for file in chosen):
        others = sorted(f for f in files if any(fnmatch(f, each) for each in _OTHER_WEIGHTS))
        held = f"it has {', '.join(others[:3])}" if others else "it has no weights at all"
        raise WireError(
            "unsupported_model",
            f"the repository {name!r} has no weights as safetensors ({held}); name another repository of the "
            "model, or download these with --all-files, for another program",
            data={"reason": "weight_format"},
        )
    return chosen


def _belongs(file: str) -> bool:
    folder, _, base = file.rpartition("/")
    if folder and not _FOLDERS.fullmatch(folder):
        return False
    wanted = any(fnmatch(base, each) for each in _KEPT)
    return wanted and not base.endswith((".bin.index.json", ".onnx.json"))
