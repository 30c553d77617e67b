"""Describes the model that the mock claims to have loaded, and refuses what needs a real one."""

from __future__ import annotations

from mlxwire_protocol import WireError
from mlxwire_protocol.results import ModelInfo

from ..engine import LoadOptions
from .words import VOCABULARY

CONTEXT = 131072
"""Tokens, where the host names no `context_len`."""


def unsupported(option: str) -> WireError:
    """Create the error for an option that needs a real model."""
    return WireError(
        "unsupported_capability",
        f"the mock can't honour `{option}`; leave it out, or use the engine mlx",
        data={"missing": [option], "field": option},
    )


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
        context_len=options.context_len or CONTEXT,
        quant_bits=0,
        quant_group=0,
        parameters=VOCABULARY * 64,
        weight_bytes=VOCABULARY * 128,
        path=options.path,
        adapter_path=None,
        chat_template=True,
        parallel_slots=options.parallel_slots or 8,
        capabilities={
            "classify": True,
            "thinking": False,
            "thoughts": False,
            "batch_lengths": "any",
        },
        compute_dtype="none",
    )
