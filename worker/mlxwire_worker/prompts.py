"""The inputs and results of an engine. Imports no wire message but the forms of an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from mlxwire_protocol.formats import ResponseFormat

from .output.channels import Channels


class SamplingParams(Struct, kw_only=True, frozen=True, gc=False):
    """Options that choose the tokens of one sequence and end it (SPEC §4.4).

    ``logit_bias`` maps token ids to additions in nats. ``cache`` lets the sequence take from
    the prompt cache and leave its own there. ``adapter`` is the name of a loaded one.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    seed: int | None = None
    stop_strings: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_window: int = 0
    logit_bias: dict[int, float] = {}
    logprobs: bool = False
    top_logprobs: int = 0
    cache: bool = True
    response_format: ResponseFormat | None = None
    adapter: str | None = None


class ChatInput(Struct, kw_only=True, frozen=True):
    """A conversation for a model's chat template.

    ``thinking`` is the template's switch; None leaves the template's own default, except that
    ``enable_thinking`` sets the variable of that name alone, as mlx-lm does. The text of a control
    token in a message stays text unless ``special_tokens`` is set. ``thinking_budget`` is in tokens,
    and ``thinking_message`` ends a thought that has spent it.

    ``tools`` are in OpenAI's shape. With ``must_call`` the answer is a call, of the tool ``chosen`` if
    that is set; without ``parallel_calls`` it ends after one. Without ``separates_channels`` thoughts
    stand in the text. Without ``asks`` the conversation ends with its last turn, and no answer begins.
    """

    messages: list[dict[str, Any]]
    thinking: bool | None = None
    thinking_budget: int | None = None
    thinking_message: str = ""
    enable_thinking: bool = False
    special_tokens: bool = False
    tools: list[dict[str, Any]] = []
    must_call: bool = False
    chosen: str | None = None
    parallel_calls: bool = True
    separates_channels: bool = True
    asks: bool = True


class Detokenizer(ABC):
    """Converts the token ids of one sequence to text, in pieces of whole characters."""

    __slots__ = ()

    @abstractmethod
    def add_token(self, token: int) -> str:
        """Return the text that this token completes; it may be empty."""

    @abstractmethod
    def text_of(self, token: int) -> str:
        """Return the text of one token by itself, for lists of likely tokens."""

    @abstractmethod
    def finalize(self) -> str:
        """Return the text that was held back, at the end of the sequence."""


class Constraint(ABC):
    """Decides which tokens of one sequence may come next. The engine's thread alone uses it."""

    @property
    @abstractmethod
    def formed(self) -> bool:
        """Return True if it holds the answer to the form that the request asked for."""

    @property
    def free(self) -> bool:
        """Return True if any token may come next, so that `fill` need not be called."""
        return False

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Return True if the text so far has the form whole."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Return True if the text is whole and nothing can follow."""

    @abstractmethod
    def valid(self, text: str) -> bool | None:
        """Return True if a text is an instance of a schema that was not enforced; else None."""

    @abstractmethod
    def follow(self, generated: list[int], newest: int | None = None) -> None:
        """Take the state after these tokens, and ``newest`` behind them. Raises: WireError."""

    @abstractmethod
    def fill(self, row: Any, address: int) -> None:
        """Set the bits of the tokens that may come next, in int32 [V / 32] at an address."""


class AdapterUse(Protocol):
    """An adapter that stays loaded as long as a prompt has it."""

    @property
    def name(self) -> str:
        """Return the name under which it was loaded."""
        ...

    def keys(self, ids: Sequence[int]) -> list[int]:
        """Return the keys of ids in the prompt cache, which no sequence without it has."""
        ...


CheckArguments = Callable[[str, str], str | None]
"""Maps a tool's name and the JSON of a call's arguments to what is wrong with them, or to None."""


class Prompt(Struct, kw_only=True, eq=False):
    """A prompt that is ready for the engine: its ids are checked, its limits are known.

    ``max_tokens`` is reduced to the room that the context leaves. ``stop_ids`` end the text and
    are neither sent nor counted. Without ``channels`` the whole text is the answer. With
    ``check_arguments`` the answer may have tool calls, and ends after one unless ``parallel_calls``.
    ``adapter`` computes it, None for the model alone. ``boundaries`` are the lengths in tokens, ascending,
    at which prompts of other turns may part from a chat's prompt: where messages end. None if not known.
    The engine sets ``cached_tokens`` and ``cache_miss``.
    """

    ids: list[int]
    max_tokens: int
    stop_ids: frozenset[int]
    detokenizer: Detokenizer
    params: SamplingParams
    constraint: Constraint | None = None
    channels: Channels | None = None
    check_arguments: CheckArguments | None = None
    adapter: AdapterUse | None = None
    parallel_calls: bool = True
    boundaries: Sequence[int] | None = None
    cached_tokens: int = 0
    cache_miss: str | None = None


MOST_INSPECTED_TOKENS = 4096
"""An inspection holds the queries and keys of all its layers in memory."""


class Inspected(Struct, kw_only=True, frozen=True):
    """The file that an inspection wrote, the layers in it, and the shapes of their arrays."""

    path: str
    layers: list[int]
    heads: int
    query_heads: int
    head_dim: int
    tokens: int


class Inspection:
    """The input of an `inspect`: the prompt's ids, the layers (None: all), and the path.

    ``work`` is the engine's unfinished work on it.
    """

    __slots__ = ("ids", "layers", "path", "work")

    def __init__(self, *, ids: list[int], layers: list[int] | None, path: str) -> None:
        self.ids = ids
        self.layers = layers
        self.path = path
        self.work: Iterator[Inspected | None] | None = None


class Form(NamedTuple):
    """If a text that has ended is whole, and an instance of a schema that was not enforced."""

    complete: bool
    schema_valid: bool | None


class CompleteCall(Struct, kw_only=True, frozen=True):
    """A tool call of an answer: its place among the calls that began, and its parts as text."""

    index: int
    call_id: str
    name: str
    arguments: str
    arguments_error: str | None


class FailedCall(Struct, kw_only=True, frozen=True):
    """A call that did not become whole; ``index`` is None if no part of it was sent."""

    index: int | None
    message: str
    text: str
    cut_off: bool


class Calls(NamedTuple):
    """The tool calls of an answer that has ended, and the last one that failed."""

    complete: list[CompleteCall]
    failed: FailedCall | None


class Sampled(NamedTuple):
    """One sequence's next token; log-probabilities, natural and in float32, where it asked:
    of the token, and of the likeliest ones as (id, log-probability), likeliest first."""

    prompt: Prompt
    token_id: int
    logprob: float | None = None
    top: list[tuple[int, float]] | None = None


class Prefilled(NamedTuple):
    """The number of tokens of one sequence's prompt that have been computed."""

    prompt: Prompt
    done: int


class Failed(NamedTuple):
    """One sequence can't go on; the engine has dropped it and keeps the others."""

    prompt: Prompt
    error: Exception


StepResult = Sampled | Prefilled | Failed
