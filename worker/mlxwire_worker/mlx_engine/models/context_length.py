"""Chooses the number of tokens that a sequence may have: what the host asks, the model allows."""

from __future__ import annotations

from typing import Any, NamedTuple

from mlxwire_protocol import invalid_params

from .model_files import text_settings

DEFAULT_CONTEXT = 131072
"""Tokens, for a model that declares no number of positions."""
SEQUENCE_TOKENS = 8192
"""The choice of a dtype counts on the caches of one sequence of this length, or a shorter context."""
_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "n_ctx",
    "model_max_length",
)


class Context(NamedTuple):
    """A context's length in tokens, and why it is shorter than the model declares, or ""."""

    tokens: int
    shortened: str


def choose_context(
    asked: int | None, config: dict[str, Any], unused: dict[str, int]
) -> Context:
    """Choose the context's length; ``unused`` has the lengths in tokens that a module drops.

    Raises: WireError ``invalid_params`` if the host asks for more than the model allows.
    """
    declared = declared_context(config)
    name, most = min(unused.items(), key=lambda item: item[1], default=("", declared))
    if asked is not None and asked > min(declared, most):
        reason = (
            f"the model has {declared} positions"
            if declared <= most
            else f"mlx-lm does not use the model's `{name}`, which matters past {most} tokens"
        )
        raise invalid_params(
            "context_len",
            f"`context_len` is {asked}, but {reason}; give at most {min(declared, most)}, or leave "
            "`context_len` out",
            context_len=min(declared, most),
        )
    if asked is not None or most >= declared:
        return Context(asked or declared, "")
    told = (
        f"`context_len` is {most} in place of {declared}, because mlx-lm does not use the model's "
        f"`{name}`: answers to longer texts would be wrong"
    )
    return Context(most, told)


def declared_context(config: dict[str, Any]) -> int:
    """Return the number of positions that the config declares, in tokens."""
    text = {**config, **text_settings(config)}
    return first_number(text, *_NAMES) or DEFAULT_CONTEXT


def first_number(config: dict[str, Any], *names: str) -> int:
    """Return the first of the named settings that is a positive integer; 0 if none is."""
    for name in names:
        value = config.get(name)
        if type(value) is int and value > 0:
            return value
    return 0


def hidden_size(text: dict[str, Any]) -> int:
    """Return the width of a model's layers by its config; 0 if that does not tell."""
    return first_number(text, "hidden_size", "n_embd", "d_model", "dim", "model_dim")
