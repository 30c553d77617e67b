"""The keyword options of requests and workers, as types, and their conversion for the wire.

Only options that the caller set are sent, so the worker's defaults hold (SPEC §4). An option
that this client does not know is sent too; a worker that does not know it refuses it by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import msgspec

from mlxwire_protocol.chat.turns import Message
from mlxwire_protocol.replies import Event, Progress

from .connection.liveness import LivenessLimits
from .errors import InvalidParams
from .process.shutdown import ShutdownLimits
from .restart.policy import RestartPolicy, WorkerChange
from .tools.tool import Tool, definition_of

Path = str | os.PathLike[str]
OnProgress = Callable[[Progress], object]
ContextLength = int | Literal["auto"]
"""Tokens, or the most that fit into memory."""
ComputeDtype = Literal["auto", "float32", "bfloat16", "float16", "stored"]
Messages = str | Sequence[Message | Mapping[str, Any]]
"""A text of the user, or turns in OpenAI's shape, as objects or `Message`."""
Tools = Sequence[Callable[..., Any] | Tool | Mapping[str, Any]]
"""Functions, or definitions of tools in OpenAI's shape."""


class GenerateOptions(TypedDict, total=False):
    """Options of `Model.generate` and `Model.batch`: how tokens are chosen, and when to stop.

    ``temperature`` 0 is greedy. ``top_k``, ``top_p`` and ``repeat_penalty`` are off at 0.
    ``stop`` strings are cut off; ``stop_tokens`` are neither sent nor counted.
    ``presence_penalty`` and ``frequency_penalty`` are OpenAI's, over the generated tokens; they
    and ``repeat_penalty`` look at the last ``penalty_window`` tokens (0: all).
    ``logit_bias`` maps token ids to values that are added to their logits. ``logprobs`` adds its
    ``logprob`` to each token, ``top_logprobs`` that many likeliest tokens. ``cache`` False
    computes the prompt anew. ``response_format`` is the form that the text must have, as in OpenAI's
    interface: ``{"type": "json_object"}``, or the type ``json_schema``, ``regex`` or ``grammar``
    (docs/structured-output.md). ``adapter`` is the name of an adapter that `Model.load_adapter` has
    loaded. ``deadline_seconds`` counts in the worker, from the arrival of the
    request, and ends it with `DeadlineExceeded`; ``timeout`` counts in this client.
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
    response_format: Mapping[str, Any] | None
    adapter: str | None
    deadline_seconds: float | None


class RunOptions(GenerateOptions, total=False):
    """Options of `run_tools`: those of `ChatOptions` without ``tools``."""

    thinking: bool | Mapping[str, Any]
    special_tokens: bool
    tool_choice: str | Mapping[str, Any]
    parallel_tool_calls: bool


class ChatOptions(RunOptions, total=False):
    """Options of `Model.chat`: those of `GenerateOptions` and more.

    ``thinking``: the switch of the chat template, or ``{"budget": 200}``, the most tokens of a
    thought, with the ``message`` that ends it (docs/thinking.md); left out, the template's default.
    A model without the capability ``thinking`` refuses it.
    ``special_tokens``: True makes control tokens in messages work; otherwise they are plain text.
    ``tools``: the functions that the model may call: Python functions, `Tool` objects, or
    definitions in OpenAI's shape (docs/tools.md). `run_tools` also runs them; a chat does not.
    ``tool_choice``: "auto", "none", "required", or the name of the tool that must be called.
    ``parallel_tool_calls``: False ends the answer after one call.
    """

    tools: Tools


class LoadOptions(TypedDict, total=False):
    """Options of `Worker.load`.

    ``context_len``: tokens of prompt and answer, or "auto" for the most that fit into memory, for
    ``parallel_slots`` sequences (one if left out). ``context_policy``: refuse a text that is longer
    than the context, or rotate it. ``parallel_slots``: sequences that are decoded together.
    ``warmup`` (default True): compile the kernels now, so that the first request is not slow.
    ``kv_bits``, ``kv_group_size``: quantize the KV cache. ``memory_limit``,
    ``prompt_cache_limit``: bytes. ``prefill_seconds``: how long one slice of a prompt may hold up
    other streams. ``compute_dtype``: "float32", "bfloat16", "float16", "stored" for the dtype of the
    weights, or "auto" (the default), which is float32 on a Linux CPU if it fits into the memory.
    """

    context_len: ContextLength | None
    adapter_path: Path | None
    parallel_slots: int | None
    warmup: bool
    context_policy: Literal["refuse", "rotate"]
    kv_bits: Literal[2, 3, 4, 6, 8] | None
    kv_group_size: Literal[32, 64, 128]
    memory_limit: int | None
    prompt_cache_limit: int | None
    prefill_seconds: float
    compute_dtype: ComputeDtype


class MemoryOptions(TypedDict, total=False):
    """Options of `Worker.memory`: limits in bytes, and ``clear``.

    ``memory_limit`` 0 removes the limit; ``prompt_cache_limit`` 0 keeps nothing. ``clear`` True
    frees the buffers that MLX keeps for reuse.
    """

    memory_limit: int | None
    prompt_cache_limit: int | None
    buffer_limit: int | None
    wired_limit: int | None
    clear: bool


class ProcessOptions(TypedDict, total=False):
    """Options of `Worker` and `Pool` that hold for each process; `Worker` explains them."""

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
    liveness: LivenessLimits | Literal["auto"] | None
    events: Sequence[str]
    on_event: Callable[[Event], object] | None
    drain_timeout: float
    buffer_bytes: int


class WorkerOptions(ProcessOptions, total=False):
    """The keyword options of `Worker`, which explains them."""

    restart: RestartPolicy | None
    unload_after: float | None
    on_change: Callable[[WorkerChange], object] | None


OWN_FIELDS = {
    "id": "the client gives each request an id of its own; a stream tells it as `id`",
    "cmd": "the method that is called says which command is sent",
    "window": "the client grants the worker credit by itself, as far as `buffer_bytes` of "
    "`Worker` and `Pool` reaches",
    "encoding_format": "vectors come as base64, and `vector` has their numbers",
    "stream": "a stream gives tokens as they come, and a batch gives them to `on_token`",
}
"""Fields that the client itself writes, and the reason."""


def request_options(options: Mapping[str, object]) -> dict[str, Any]:
    """Return a caller's options for the wire, as `set_fields` does.

    Raises: InvalidParams if one of them is a field that the client itself writes.
    """
    for name in options:
        if name in OWN_FIELDS:
            raise InvalidParams(
                f"`{name}` is no option of a request: {OWN_FIELDS[name]}. Leave it out",
                data={"field": name},
            )
    return set_fields(**options)


def set_fields(**options: object) -> dict[str, Any]:
    """Return the options that are not None, with paths, keys and sequences as plain values."""
    return {
        name: _tools(value) if name == "tools" else _plain(value)
        for name, value in options.items()
        if value is not None
    }


def chat_messages(messages: Messages) -> list[dict[str, Any]]:
    """Return a conversation as plain turns; a string is one turn of the user.

    Raises: InvalidParams if it is neither a string nor a sequence of turns.
    """
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if isinstance(messages, Mapping) or not isinstance(messages, Iterable):
        raise _no_conversation("messages", messages)
    return [_turn(place, turn) for place, turn in enumerate(messages)]


def _turn(place: int, turn: object) -> dict[str, Any]:
    if isinstance(turn, Message):
        given: dict[str, Any] = msgspec.to_builtins(turn)
        return {name: value for name, value in given.items() if value is not None}
    if isinstance(turn, Mapping):
        return dict(turn)
    raise _no_conversation(f"messages[{place}]", turn)


def _no_conversation(field: str, given: object) -> InvalidParams:
    return InvalidParams(
        f"`{field}` is of type {type(given).__name__}: give `messages` as a string, or as a list "
        'of turns such as {"role": "user", "content": "Hello"}',
        data={"field": field},
    )


def _tools(tools: object) -> list[object]:
    """Return tools as definitions. Raises: InvalidParams if they are no list, TypeError."""
    if isinstance(tools, str | Mapping) or not isinstance(tools, Iterable):
        raise InvalidParams(
            f"`tools` is of type {type(tools).__name__}: give a list of tools, each a function, a "
            "mlxwire.Tool, or a definition such as "
            '{"type": "function", "function": {"name": "get_weather"}}',
            data={"field": "tools"},
        )
    return [definition_of(tool) for tool in tools]


def _plain(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): inner for key, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return list(value)
    return value
