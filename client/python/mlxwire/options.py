"""The options of requests, as keywords that type checkers know.

Only what the caller set is sent, so the worker's defaults hold (SPEC §4); an option that this
client does not know is sent too, and the worker refuses it by name if it does not either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from mlxwire_protocol.messages import Message
from mlxwire_protocol.replies import Event, Progress

from .connection.liveness import LivenessLimits
from .errors import InvalidParams
from .process.shutdown import ShutdownLimits

Path = str | os.PathLike[str]
OnProgress = Callable[[Progress], object]
Messages = str | Sequence[Message | Mapping[str, Any]]


class GenerateOptions(TypedDict, total=False):
    """How tokens are chosen and when to stop.

    ``temperature`` 0 is greedy. Zero ``top_k``, ``top_p`` or ``repeat_penalty`` is off.
    ``stop`` strings are cut off; ``stop_tokens`` are neither sent nor counted.
    ``presence_penalty`` and ``frequency_penalty`` are OpenAI's, over the generated tokens; they
    and ``repeat_penalty`` count over the last ``penalty_window`` tokens (0: all).
    ``logit_bias`` maps token ids to what is added to their logits. ``logprobs`` gives each token
    its ``logprob``, and ``top_logprobs`` so many of the likeliest. ``cache`` off computes the
    prompt anew. ``deadline_seconds`` is the worker's to keep, from the request's arrival, and
    ends in `DeadlineExceeded`; ``timeout`` is this client's, and goes by its own clock.
    """

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    seed: int | None
    stop: str | Sequence[str]
    stop_tokens: Sequence[int]
    ignore_eos: bool
    min_tokens: int
    xtc_probability: float
    xtc_threshold: float
    presence_penalty: float
    frequency_penalty: float
    penalty_window: int
    logit_bias: Mapping[int, float] | Mapping[str, float]
    logprobs: bool
    top_logprobs: int
    cache: bool
    deadline_seconds: float | None


class ChatOptions(GenerateOptions, total=False):
    """`GenerateOptions`, the chat template's ``thinking`` switch (left out: its default), and
    ``special_tokens``: honour control tokens written in messages (otherwise they are plain text)."""

    thinking: bool
    special_tokens: bool


class LoadOptions(TypedDict, total=False):
    """What a model is loaded with; ``context_len`` in tokens.

    ``warmup`` (on by default) compiles the kernels, so that the first request is not slow.
    ``context_policy`` says what becomes of a text that passes the context. ``kv_bits`` and
    ``kv_group_size`` quantize the KV cache. ``memory_limit`` and ``prompt_cache_limit`` are in
    bytes; ``prefill_seconds`` is how long a prompt may hold up the streams beside it at a time.
    """

    context_len: int | None
    adapter_path: Path | None
    parallel_slots: int | None
    warmup: bool
    context_policy: Literal["refuse", "rotate"]
    kv_bits: Literal[2, 3, 4, 6, 8] | None
    kv_group_size: Literal[32, 64, 128]
    memory_limit: int | None
    prompt_cache_limit: int | None
    prefill_seconds: float


class MemoryOptions(TypedDict, total=False):
    """Limits to set, in bytes. A ``memory_limit`` of 0 is none at all, a ``prompt_cache_limit`` of
    0 keeps nothing. ``clear`` gives back the buffers that MLX keeps."""

    memory_limit: int | None
    prompt_cache_limit: int | None
    buffer_limit: int | None
    wired_limit: int | None
    clear: bool


class WorkerOptions(TypedDict, total=False):
    """The keyword options of `Worker`, which explains them."""

    engine: Literal["mlx", "mock"] | None
    args: Sequence[str]
    env: Mapping[str, str] | None
    cwd: Path | None
    start_timeout: float
    request_timeout: float | None
    idle_timeout: float | None
    on_stderr: Callable[[str], object] | None
    shutdown: ShutdownLimits | None
    require: Sequence[str]
    liveness: LivenessLimits | None
    events: Sequence[str]
    on_event: Callable[[Event], object] | None
    drain_timeout: float
    buffer_bytes: int


def set_fields(**options: object) -> dict[str, Any]:
    """The options that were set, ready for the wire: no None; paths, keys and sequences plain."""
    return {name: _plain(value) for name, value in options.items() if value is not None}


def chat_messages(messages: Messages) -> list[dict[str, Any]]:
    """A conversation for the wire; a bare string is the user's one turn. Raises: InvalidParams."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if isinstance(messages, Mapping) or not isinstance(messages, Iterable):
        raise _no_conversation("messages", messages)
    return [_turn(place, turn) for place, turn in enumerate(messages)]


def _turn(place: int, turn: object) -> dict[str, Any]:
    if isinstance(turn, Message):
        return {"role": turn.role, "content": turn.content}
    if isinstance(turn, Mapping):
        return dict(turn)
    raise _no_conversation(f"messages[{place}]", turn)


def _no_conversation(field: str, given: object) -> InvalidParams:
    return InvalidParams(
        f"`{field}` is of type {type(given).__name__}: give `messages` as a string, or as a list "
        'of turns such as {"role": "user", "content": "Hello"}',
        data={"field": field},
    )


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): inner for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return list(value)
    return value
