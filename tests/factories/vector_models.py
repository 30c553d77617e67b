"""Causal models as embedding models are published: a bare trunk, and the files of its modules."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from tokenizers import Tokenizer, processors

from .encoders import write_modules
from .models import write_json

INSTRUCTED = {
    "prompts": {
        "query": "Instruct: Given a web search query, retrieve passages\nQuery:",
        "document": "",
    },
    "default_prompt_name": None,
}


def build_vector_model(
    source: Path,
    target: Path,
    *,
    pooling: str | None = "lasttoken",
    bare: bool = True,
    head: bool = False,
    end: str | None = None,
    config: dict[str, Any] | None = None,
    prompts: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
) -> Path:
    """Write a causal model of ``source`` as Qwen3-Embedding is published, and return its folder.

    ``bare`` takes the prefix off the weights' names, and without ``head`` their head is left out.
    ``end`` is a token that the tokenizer puts behind each text.
    """
    shutil.copytree(source, target)
    settings = json.loads((target / "config.json").read_text())
    stored: Any = mx.load(str(source / "model.safetensors"))
    weights = {
        name.removeprefix("model.") if bare else name: array
        for name, array in stored.items()
        if head or not name.startswith("lm_head")
    }
    if not head and not settings.get("tie_word_embeddings"):
        settings["architectures"] = [f"{settings['model_type'].capitalize()}Model"]
    mx.save_safetensors(str(target / "model.safetensors"), weights, metadata={"format": "pt"})
    write_json(target / "config.json", settings | (config or {}))
    if end is not None:
        _append(target / "tokenizer.json", end)
    if pooling is not None:
        write_modules(
            target, pooling, prompts=prompts, limits=limits, width=settings["hidden_size"]
        )
    return target


def _append(file: Path, end: str) -> None:
    tokenizer = Tokenizer.from_file(str(file))
    number = tokenizer.token_to_id(end)
    template = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, number)])
    tokenizer.post_processor = processors.Sequence([tokenizer.post_processor, template])
    tokenizer.save(str(file))
