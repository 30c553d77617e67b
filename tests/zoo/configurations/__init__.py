"""One small configuration of each architecture of mlx-lm, written as config.json files are.

Lengths that bite (windows, chunks, original contexts, indexers) are shorter than the prompts.
"""

from __future__ import annotations

from typing import Any

from . import dense, latent, mixtures, recurrent, variants, windows, wrapped

_BY_TYPE: dict[str, dict[str, Any]] = {
    **dense.CONFIGURATIONS,
    **mixtures.CONFIGURATIONS,
    **latent.CONFIGURATIONS,
    **windows.CONFIGURATIONS,
    **recurrent.CONFIGURATIONS,
    **wrapped.CONFIGURATIONS,
    "deepseek_v41_text": latent.CONFIGURATIONS["deepseek_v41"],
}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    **{name: {"model_type": name, **config} for name, config in sorted(_BY_TYPE.items())},
    **variants.VARIANTS,
}
"""By the animal's name: its `model_type`, or a few words for a second one of that type."""
