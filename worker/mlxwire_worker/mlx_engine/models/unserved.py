"""Refuses architectures that mlx-lm knows and that would end the process or answer wrongly.

tests/zoo holds that each is refused; a newer mlx-lm may mend one, and then its entry goes.
"""

from __future__ import annotations

from importlib.util import find_spec

from mlxwire_protocol import WireError

from .model_files import unsupported


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


def _unsupported(model_type: str, reason: str, why: str) -> WireError:
    return unsupported(
        reason,
        f"the architecture {model_type!r} {why}",
        model_type=model_type,
    )
