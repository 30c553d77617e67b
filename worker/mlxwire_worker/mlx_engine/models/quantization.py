"""Checks that a model's config and its weights agree on the quantization."""

from __future__ import annotations

from typing import Any

from mlxwire_protocol import WireError

SUPPORTED_QUANT_METHODS = frozenset(
    {"bitnet", "mxfp4", "mxfp8", "compressed-tensors", "modelopt", "awq", "gptq", "fp8"}
)


def check_quantization(config: dict[str, Any], tensors: dict[str, str]) -> None:
    """Compare the quantization in a config with the names of the weights' tensors.

    Raises: WireError ``model_load_failed`` or ``unsupported_model``.
    """
    text = config.get("text_config")
    sources = [config, text if isinstance(text, dict) else {}]
    plain = next(
        (s["quantization"] for s in sources if s.get("quantization") is not None), None
    )
    packed = any(name.endswith(".scales") for name in tensors)
    if plain is not None:
        complete = isinstance(plain, dict) and all(
            type(plain.get(name)) is int for name in ("bits", "group_size")
        )
        if not complete:
            raise _failed(
                "`quantization` in config.json lacks the integers `bits` and `group_size`; copy "
                "config.json again from the model's source",
            )
        if not packed:
            raise _failed(
                "config.json says that the weights are quantized, but they have no scales; remove "
                "`quantization` from config.json, or download the quantized weights",
            )
        return
    foreign = next(
        (s["quantization_config"] for s in sources if s.get("quantization_config")), None
    )
    if foreign is not None:
        _check_foreign_quantization(foreign, tensors)


def _check_foreign_quantization(foreign: Any, tensors: dict[str, str]) -> None:
    method = foreign.get("quant_method") if isinstance(foreign, dict) else None
    if method not in SUPPORTED_QUANT_METHODS:
        raise WireError(
            "unsupported_model",
            f"mlx-lm can't read weights quantized with {str(method)[:40]!r}; convert the original "
            "model with `mlx_lm.convert -q`",
            data={"reason": "quantization"},
        )
    scaled = any(
        "scale" in name.rsplit(".", 1)[-1] or name.endswith("qweight") for name in tensors
    )
    if not scaled and method != "bitnet":
        raise _failed(
            f"config.json says that the weights are quantized with {method!r}, but they have no "
            "scales; remove `quantization_config` from config.json, or download the quantized "
            "weights",
        )


def _failed(message: str) -> WireError:
    data = {"reason": "quantization", "file": "config.json"}
    return WireError("model_load_failed", message, data=data)
