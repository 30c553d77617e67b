"""Describes the model that the mock claims to have loaded, and refuses what needs a real one."""

from __future__ import annotations

from typing import Literal

from mlxwire_protocol import WireError
from mlxwire_protocol.results import AdapterInfo, ModelInfo

from ..engine import LoadOptions
from .words import VOCABULARY

CONTEXT = 131072
"""Tokens, where the host names no `context_len`."""

WEIGHT_BYTES = VOCABULARY * 128
CONTEXT_BYTES = 128
"""Bytes that the mock claims for its weights, and for each token of a sequence."""


def unsupported(option: str, *, missing: str = "", field: str = "") -> WireError:
    """Create the error for an option that needs a real model.

    ``missing``: the capability, and ``field``: the field of the request, where these are other names.
    """
    return WireError(
        "unsupported_capability",
        f"the mock can't honour `{option}`; leave it out, or use the engine mlx",
        data={"missing": [missing or option], "field": field or option},
    )


def context_of(asked: int | Literal["auto"] | None) -> int:
    """Return the context's length in tokens: the whole fits into memory."""
    return asked if isinstance(asked, int) else CONTEXT


def describe(options: LoadOptions) -> ModelInfo:
    """Return the description of a model for the options of a `load`.

    Raises: WireError ``unsupported_capability`` for an option that needs a real model.
    """
    for name, asked in (
        ("adapter_path", options.adapter_path is not None),
        ("kv_bits", options.kv_bits is not None),
        ("context_policy", options.context_policy == "rotate"),
        ("compute_dtype", options.compute_dtype != "auto"),
    ):
        if asked:
            raise unsupported(name)
    return ModelInfo(
        model_type="mock",
        vocab_size=VOCABULARY,
        layers=1,
        hidden_size=64,
        context_len=context_of(options.context_len),
        quant_bits=0,
        quant_group=0,
        parameters=VOCABULARY * 64,
        weight_bytes=WEIGHT_BYTES,
        path=options.path,
        adapter_path=None,
        chat_template=True,
        parallel_slots=options.parallel_slots or 8,
        capabilities={
            "classify": True,
            "embed": True,
            "rerank": True,
            "score": True,
            "thinking": False,
            "thoughts": True,
            "thinking_budget": False,
            "tools": True,
            "required_calls": False,
            "strict_tools": False,
            "batch_lengths": "any",
        },
        compute_dtype="none",
    )


def adapter_info(name: str, path: str) -> AdapterInfo:
    """Return the description of an adapter that has one module."""
    return AdapterInfo(
        name=name,
        path=path,
        format="mlx",
        method="lora",
        rank=8,
        scale=1.0,
        modules=1,
        parameters=1024,
        bytes=4096,
    )


def no_prompt_cache() -> WireError:
    """Create the error for an action on a prompt cache that the mock does not have."""
    return WireError(
        "unsupported_capability",
        "the mock keeps no prompt cache; use the engine mlx to save or load one",
        data={"missing": ["prompt_cache"]},
    )
