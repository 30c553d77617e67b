"""The architectures that mlx-lm knows and that are refused, since it computes them wrongly.

tests/zoo found them; a newer mlx-lm may mend them, and then their entry goes.
"""

from __future__ import annotations

from importlib.util import find_spec

from mlxwire_protocol import WireError

UNSERVED: dict[str, str] = {
    "olmo": "mlx-lm's module ends the process unless the package ai2-olmo is installed",
    "phi3small": "its block-sparse attention damages the process's memory in mlx-lm",
    "plamo3": "mlx-lm's cache of its sliding layers holds one token less than the window",
}


def check_served(model_type: str) -> None:
    """Raise ``unsupported_model`` for an architecture that would crash or answer wrongly."""
    why = UNSERVED.get(model_type)
    if why is None or (model_type == "olmo" and find_spec("hf_olmo") is not None):
        return
    raise WireError(
        "unsupported_model",
        f"the architecture {model_type!r} is not served: {why}. Use another model",
        data={"reason": "wrong_in_mlx_lm", "model_type": model_type},
    )
