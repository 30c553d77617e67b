"""The versions of the protocol, and the table of commands: a row for each, with its properties.

Other code derives from it: which requests a full worker refuses, which requests wait for
others, which reply ends a request, and the capabilities in `hello`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from msgspec import Struct

from . import messages
from .errors import WireError
from .messages import Command
from .models.requests import Discover, Fit
from .texts.requests import Embed, Render, Rerank, Score
from .training import requests

EngineName = Literal["mlx", "mock"]
Final = Literal["result", "done"]
Lane = Literal[
    "at_once",
    "prepare",
    "between_steps",
    "alone",
    "sequences",
    "one_pass",
    "background",
    "files",
]
"""Where the worker serves a command.

at_once: as it is read; nothing delays it, and a full worker takes it all the same.
prepare: in order of arrival, where prompts are tokenized; no step of the model is needed.
between_steps: as soon as it is prepared, between two steps of the engine.
alone: after everything before it has ended, and before anything after it begins.
sequences: as one sequence or several of the decode batch.
one_pass: in slices of a forward pass, between the steps of the sequences.
background: in a process of its own, while all others go on.
files: on a thread that reads model folders, one request at a time, while all others go on.
"""

BOTH: frozenset[EngineName] = frozenset({"mlx", "mock"})
MLX: frozenset[EngineName] = frozenset({"mlx"})


def command_name(command: Command | type[Command]) -> str:
    """Return the ``cmd`` of a request or of a request type."""
    tag: Any = command.__struct_config__.tag
    return str(tag)


class Row(Struct, frozen=True):
    """A command, or one action of a command that is served in another lane.

    ``final`` is the type of the reply that ends a successful request. ``engines`` are the
    engines that support the command.
    """

    request: type[Command]
    final: Final
    lane: Lane
    needs_model: bool
    engines: frozenset[EngineName] = BOTH
    action: str | None = None

    @property
    def name(self) -> str:
        """The value of ``cmd``."""
        return command_name(self.request)


TABLE = (
    Row(messages.Hello, "result", "at_once", needs_model=False),
    Row(messages.Load, "result", "alone", needs_model=False),
    Row(messages.Unload, "result", "alone", needs_model=True),
    Row(messages.Info, "result", "at_once", needs_model=True),
    Row(messages.Generate, "done", "sequences", needs_model=True),
    Row(messages.Chat, "done", "sequences", needs_model=True),
    Row(messages.Batch, "done", "sequences", needs_model=True),
    Row(messages.Classify, "done", "one_pass", needs_model=True),
    Row(messages.Tokenize, "result", "prepare", needs_model=True),
    Row(messages.Detokenize, "result", "prepare", needs_model=True),
    Row(Render, "result", "prepare", needs_model=True),
    Row(Embed, "done", "one_pass", needs_model=True),
    Row(Rerank, "result", "one_pass", needs_model=True),
    Row(Score, "done", "one_pass", needs_model=True),
    Row(messages.Inspect, "result", "one_pass", needs_model=True, engines=MLX),
    Row(messages.Cancel, "result", "at_once", needs_model=False),
    Row(messages.Credit, "result", "at_once", needs_model=False),
    Row(messages.Cache, "result", "between_steps", needs_model=True),
    Row(messages.Cache, "result", "sequences", needs_model=True, action="warm"),
    Row(messages.Adapter, "result", "between_steps", needs_model=True),
    Row(requests.Train, "result", "background", needs_model=True),
    Row(requests.Evaluate, "result", "background", needs_model=True),
    Row(Discover, "done", "files", needs_model=False),
    Row(Fit, "result", "files", needs_model=False),
    Row(messages.Memory, "result", "between_steps", needs_model=False),
    Row(messages.Metrics, "result", "at_once", needs_model=False),
    Row(messages.Quit, "result", "at_once", needs_model=False),
)

FEATURES: dict[str, frozenset[EngineName]] = {
    "seed": BOTH,
    "stop": BOTH,
    "stop_tokens": BOTH,
    "repeat_penalty": BOTH,
    "presence_penalty": BOTH,
    "frequency_penalty": BOTH,
    "penalty_window": BOTH,
    "logit_bias": BOTH,
    "min_tokens": BOTH,
    "xtc": BOTH,
    "logprobs": BOTH,
    "response_format": MLX,
    "thinking": MLX,
    "special_tokens": BOTH,
    "labels": BOTH,
    "classify_sampling": BOTH,
    "window": BOTH,
    "deadline_seconds": BOTH,
    "prompt_cache": MLX,
    "context_policy": MLX,
    "kv_bits": MLX,
    "memory_limit": BOTH,
    "adapter_path": MLX,
    "compute_dtype": MLX,
    "heartbeat": BOTH,
    "dialect0": BOTH,
}
"""Capabilities that are no commands: options, events and dialects (SPEC §3)."""

COMMANDS: dict[str, Row] = {row.name: row for row in TABLE if row.action is None}
"""The rows by command; a row of an action is found by `row_of`."""
_ACTIONS: dict[tuple[str, str | None], Row] = {
    (row.name, row.action): row for row in TABLE if row.action is not None
}


def row_of(command: Command) -> Row:
    """Return the row of a request's ``action`` if the table has one, else of its command."""
    name = command_name(command)
    row = _ACTIONS.get((name, getattr(command, "action", None)))
    return row or COMMANDS[name]


def actions_of(name: str) -> Iterator[Row]:
    """Yield the rows of those actions of a command that have a row."""
    return (row for (command, _), row in _ACTIONS.items() if command == name)


def capabilities(engine: EngineName) -> dict[str, bool]:
    """Return the capabilities in `hello` of a worker with ``engine``."""
    told = {name: engine in row.engines for name, row in COMMANDS.items() if name != "hello"}
    return {**told, **{name: engine in engines for name, engines in FEATURES.items()}}


SUPPORTED_PROTOCOLS: tuple[int, ...] = (1,)
"""The major versions of dialect 1 that this package speaks. Dialect 0 has no version."""


def choose_version(
    offered: Iterable[int], supported: Iterable[int] = SUPPORTED_PROTOCOLS
) -> int:
    """Return the highest version that both sides speak.

    Raises: WireError ``unsupported_protocol`` with ``data.supported`` if they share no version.
    """
    ours = sorted(set(supported))
    common = set(offered) & set(ours)
    if not common:
        raise WireError(
            "unsupported_protocol",
            f"`protocols` has no version that this worker speaks; it speaks "
            f"{', '.join(map(str, ours))}. Offer one of these, or install a matching version",
            data={"supported": ours},
        )
    return max(common)
