"""Explains why a model could not be built: a broken folder, or one that this worker can't serve."""

from __future__ import annotations

import re
from typing import Literal

from mlxwire_protocol import WireError

from .config.work import TooMuchWork
from .model_files import failed, unsupported

Stage = Literal["import", "arguments", "modules", "weights", "forward"]

_NO_KERNEL = re.compile(r"_kernel\]|No (?:Metal|CUDA|GPU) back-?end", re.IGNORECASE)
_NOT_SUPPORTED = re.compile(
    r"supported|supports|not (?:yet )?implemented|unknown|requires|does not have", re.IGNORECASE
)
_MISSING = re.compile(r"missing \d+ required")


def explained(error: BaseException, stage: Stage, model_type: object) -> WireError:
    """Return the WireError for what mlx-lm raised in a stage of building a model."""
    detail = detail_of(error)
    name = str(model_type)[:80]
    if isinstance(error, TooMuchWork):
        return failed(
            "weights_do_not_fit",
            f"config.json describes a model that is too large for its weights ({error}); copy "
            "config.json and the weights from the same source",
            file="config.json",
        )
    if unserved := _unserved(error, stage, name, detail):
        return unserved
    if stage == "arguments" and _MISSING.search(str(error)):
        return failed(
            "incomplete_config",
            f"config.json lacks settings that mlx-lm needs for {name!r} ({detail}); copy it again "
            "from the model's source",
            file="config.json",
        )
    if stage in ("arguments", "modules"):
        return failed(
            "invalid_config",
            f"mlx-lm can't build {name!r} from config.json ({detail}); copy it again from the "
            "model's source",
            file="config.json",
        )
    return failed(
        "weights_do_not_fit",
        f"config.json and the weights do not fit together ({detail}); copy both from the same "
        "source",
    )


def detail_of(error: BaseException) -> str:
    """Return an error's type and the first lines of its text, for a message."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:3])[:300]}"


def is_unserved(error: BaseException) -> bool:
    """Return True if an error tells that the model is sound and can't be served here."""
    return _unserved(error, "forward", "", "") is not None


def _unserved(error: BaseException, stage: Stage, name: str, detail: str) -> WireError | None:
    if _NO_KERNEL.search(str(error)):
        return unsupported(
            "no_kernel",
            f"the architecture {name!r} needs a kernel that MLX does not have for this device "
            f"({detail}); use a machine with a device that has it, or another model",
        )
    if isinstance(error, ImportError | SystemExit):
        return unsupported(
            "missing_package",
            f"mlx-lm's module for the architecture {name!r} needs a Python package that is not "
            f"installed ({detail}); install it beside the worker, or use another model",
        )
    told = isinstance(error, ValueError | RuntimeError) and _NOT_SUPPORTED.search(str(error))
    of_mlx = str(error).startswith("[")  # an operation's name: mlx refuses shapes and types so
    if isinstance(error, NotImplementedError) or (told and not of_mlx):
        reason = "quantization" if "quant" in str(error) else "unsupported_setting"
        return unsupported(
            reason,
            f"mlx-lm does not support what config.json asks of {name!r} ({detail}); use another "
            "model, or a newer mlx-lm",
        )
    if stage == "import":
        return unsupported(
            "unknown_architecture",
            f"mlx-lm can't import its module for the architecture {name!r} ({detail}); use "
            "another model",
        )
    return None
