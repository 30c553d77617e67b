"""Refuses architectures that mlx-lm knows and that would end the process or answer wrongly.

It also refuses heads that mlx-lm's models do not have. tests/zoo holds that each architecture is refused; a newer mlx-lm may mend one, and then its entry goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from mlxwire_protocol import WireError

from .model_files import quoted, unsupported

_HEADS = ("score.", "classifier.", "classification_head.", "qa_outputs.", "v_head.")
"""Beginnings of the names of a head's tensors: labels of a text or of its tokens, spans, rewards."""


def check_served(model_type: str) -> None:
    """Check an architecture before its module is imported. Raises: WireError ``unsupported_model``."""
    if model_type == "olmo" and find_spec("hf_olmo") is None:
        # Without the package, mlx-lm's module calls sys.exit while it is imported.
        raise _unsupported(
            model_type,
            "missing_package",
            "needs the Python package ai2-olmo; install it, or use a model of 'olmo2' or later",
        )
    if model_type == "phi3small":
        # Its block-sparse layers add a mask of booleans to the scores, so that a prompt's later
        # tokens reach the earlier ones; and it masks fixed ids, past the end of a small vocabulary.
        raise _unsupported(
            model_type,
            "wrong_in_mlx_lm",
            "is computed wrongly by mlx-lm: in a prompt, tokens see those after them; use another "
            "model",
        )


def check_head(config: dict[str, Any], tensors: Iterable[str]) -> None:
    """Refuse a causal model whose weights have a head for labels or rewards in place of words.

    Raises: WireError ``unsupported_model``.
    """
    head = next((name for name in tensors if name.startswith(_HEADS)), None)
    if head is None:
        return
    listed = config.get("architectures")
    name = str(listed[0]) if isinstance(listed, list) and listed else config["model_type"]
    raise unsupported(
        "classification_head",
        f"{quoted(name)[:80]!r} is a causal model with a classification head ({quoted(head)[:80]!r}), "
        "which the worker does not compute; use the model with its head for words, or to `rerank` an "
        "encoder with a head of one label or a causal model that answers yes or no",
        model_type=config["model_type"],
    )


def _unsupported(model_type: str, reason: str, why: str) -> WireError:
    return unsupported(
        reason,
        f"the architecture {model_type!r} {why}",
        model_type=model_type,
    )
