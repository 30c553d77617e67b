"""The facts that `mlxwire info` prints about a model, for people and for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from mlxwire_protocol.results import ModelInfo

from .arguments import Launch
from .launch import launch_worker, load_model

FACTS = (*ModelInfo.__struct_fields__, "load_seconds", "warnings")


async def load_facts(launch: Launch) -> dict[str, Any]:
    """Load the model and return its facts, with the names and units of the protocol."""
    worker = await launch_worker(launch)
    try:
        model = await load_model(worker, launch)
    finally:
        await worker.close()
    loaded = msgspec.to_builtins(model.loaded)
    return {name: loaded[name] for name in FACTS}


def readable(facts: Mapping[str, Any]) -> dict[str, object]:
    """Return rows of a table, in words and rounded numbers."""
    bits, group, mode = (facts[f"quant_{name}"] for name in ("bits", "group", "mode"))
    able = (
        f"{name}: {value}" if isinstance(value, str) else name
        for name, value in facts["capabilities"].items()
        if value
    )
    return {
        "path": facts["path"],
        "model type": facts["model_type"],
        "parameters": f"{facts['parameters']:,}",
        "weights": f"{facts['weight_bytes'] / 2**20:,.1f} MiB",
        "quantized": f"{bits} bits, groups of {group}, {mode}" if bits else "no",
        "computes in": facts["compute_dtype"] or "unknown",
        "BLAS": _blas(facts["blas"], facts["blas_threads"]),
        "layers": facts["layers"],
        "hidden size": facts["hidden_size"],
        "vocabulary": facts["vocab_size"],
        "context": f"{facts['context_len']:,} tokens",
        "adapter": facts["adapter_path"] or "none",
        "chat template": "yes" if facts["chat_template"] else "no",
        "pooling": facts["pooling"] or "none",
        "capabilities": ", ".join(able) or "none",
        "parallel slots": facts["parallel_slots"],
        "loaded in": f"{facts['load_seconds']:.2f} s",
        "warnings": "; ".join(facts["warnings"]) or "none",
    }


def _blas(name: str | None, threads: int) -> str:
    if name is None:
        return "MLX's own"
    return f"{name}, {threads} {'thread' if threads == 1 else 'threads'}" if threads else name
