"""Checks that a model's config and its weights agree on the quantization."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from mlxwire_protocol import WireError

from .model_files import failed, quoted, read_object, text_settings, unsupported

SUPPORTED_QUANT_METHODS = frozenset(
    {"bitnet", "mxfp4", "mxfp8", "compressed-tensors", "modelopt", "awq", "fp8"}
)
"""GPTQ is not among them: mlx-lm reads its weights in AWQ's order, which is another one."""

_SETTINGS = frozenset({"quantization", "quantization_config", "quantize_activations"})


def check_quantization(config: dict[str, Any], tensors: Collection[str]) -> None:
    """Compare the quantization in a config with the names of the weights' tensors.

    Raises: WireError ``model_load_failed`` or ``unsupported_model``.
    """
    sources = [config, text_settings(config)]
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


def with_modelopt(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a config with the settings of NVIDIA's ``hf_quant_config.json``, as mlx-lm reads it.

    mlx-lm reads that file if config.json has no ``quantization_config``, and ends with a KeyError
    if the file lacks the method, as those of older exports do. Raises: WireError
    ``model_load_failed``, or ``unsupported_model`` for an algorithm that mlx-lm does not know.
    """
    file = folder / "hf_quant_config.json"
    told = "quantization_config" in {**config, **text_settings(config)}
    if told or not file.exists():
        return config
    settings = read_object(file)
    if config.get("quantization") is not None or not settings:
        return config
    if not isinstance(settings.get("quant_method"), str):
        raise failed(
            "quantization",
            f"{file.name} names no `quant_method`, so mlx-lm can't read the weights; copy "
            "config.json from a newer export, which has `quantization_config`",
            file=file.name,
        )
    if settings["quant_method"] == "modelopt":
        nested = settings.get("quantization", settings)
        algorithm = nested.get("quant_algo") if isinstance(nested, dict) else None
        if algorithm != "NVFP4":
            raise unreadable(f"modelopt, {quoted(algorithm)}")
    return {**config, "quantization_config": settings}


def _check_foreign_quantization(foreign: Any, tensors: Collection[str]) -> None:
    method = foreign.get("quant_method") if isinstance(foreign, dict) else None
    if method not in SUPPORTED_QUANT_METHODS:
        raise unreadable(str(method)[:40])
    if method == "awq" and (form := _unread_awq(foreign)):
        raise unreadable(f"awq, {form}")
    scaled = any(
        "scale" in name.rsplit(".", 1)[-1] or name.endswith("qweight") for name in tensors
    )
    if not scaled and method != "bitnet":
        raise _failed(
            f"config.json says that the weights are quantized with {method!r}, but they have no "
            "scales; remove `quantization_config` from config.json, or download the quantized "
            "weights",
        )


def _unread_awq(settings: dict[str, Any]) -> str | None:
    """Name what mlx-lm would misread of AWQ's settings: it knows four bits in the layout GEMM."""
    bits = settings.get("bits", settings.get("w_bit", 4))
    layout = str(settings.get("version", "gemm"))[:40]
    if bits != 4:
        return f"{str(bits)[:10]} bits"
    return None if layout.lower() == "gemm" else f"layout {layout}"


def foreign_method(config: dict[str, Any]) -> str | None:
    """Return the quantization that another program than mlx-lm gave the weights; None if none."""
    if config.get("quantization") is not None:
        return None
    settings = config.get("quantization_config")
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    return method[:40] if isinstance(method, str) else None


def without_quantization(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config that says nothing of a quantization, as that of plain weights."""
    kept = {name: value for name, value in config.items() if name not in _SETTINGS}
    if isinstance(text := kept.get("text_config"), dict):
        kept["text_config"] = without_quantization(text)
    return kept


def unreadable(form: str, detail: str = "") -> WireError:
    """Create the WireError ``unsupported_model`` for weights in a quantized form."""
    told = f" ({detail})" if detail else ""
    return unsupported(
        "quantization",
        f"mlx-lm can't read weights quantized with {form!r} for this model{told}; convert the "
        "original model with `mlxwire convert --bits 4`",
    )


def _failed(message: str) -> WireError:
    return failed("quantization", message, file="config.json")
