"""Finds the function that a folder applies to the logit of its classification head. Imports no MLX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..models.model_files import quoted, read_object, unsupported
from ..one_pass.embedding.settings import PROMPTS

_ACTIVATIONS = ("Sigmoid", "Identity", "Tanh")


def read_activation(folder: Path, config: dict[str, Any]) -> str:
    """Return the name of the function that a folder applies to its head's logit.

    That is a sigmoid unless the folder says otherwise, as in sentence-transformers' CrossEncoder.
    Raises: WireError ``unsupported_model`` for a function that is not computed here.
    """
    file = folder / PROMPTS
    nested = config.get("sentence_transformers")
    told = (
        nested.get("activation_fn") if isinstance(nested, dict) else None,
        config.get("sbert_ce_default_activation_function"),
        read_object(file).get("activation_fn") if file.exists() else None,
    )
    named = next((str(each) for each in told if each is not None), "Sigmoid")
    if (name := named.rsplit(".", 1)[-1]) not in _ACTIVATIONS:
        raise unsupported(
            "unsupported_setting",
            f"the folder applies {quoted(named)[:80]!r} to the logit of its classification head; "
            f"accepted are {', '.join(_ACTIVATIONS)}. Use another model",
            field="activation_fn",
        )
    return name
