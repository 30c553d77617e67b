"""What the scheduler asks of an engine. It knows no MLX; the mock and the real one fit it.

All methods run on the engine's thread, except `prepare` and `prepare_classify` (the prepare
thread) and `memory` (any).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from msgspec import Struct

from mlxwire_protocol import WireError
from mlxwire_protocol.messages import (
    Batch,
    Cache,
    Chat,
    Classify,
    Command,
    Generate,
    Load,
    Sampling,
)
from mlxwire_protocol.replies import ModelInfo

ProgressReport = Callable[[str, float, float], None]
"""Called with a stage, how much is done and the total, in the stage's unit."""


class Cancelled(Exception):
    """Raised out of a long operation whose job was cancelled."""


class Detokenizer(ABC):
    """Token ids to text, never breaking inside a character. One per sequence."""

    __slots__ = ()

    @abstractmethod
    def add_token(self, token: int) -> str:
        """The text that this token completes; may be empty."""

    @abstractmethod
    def text_of(self, token: int) -> str:
        """One token by itself, for lists of likely tokens."""

    @abstractmethod
    def finalize(self) -> str:
        """What was held back waiting for more."""


class Prompt:
    """A request made ready for the engine: ids checked, limits worked out.

    ``max_tokens`` is cut to the room that the context leaves. ``stop_ids`` end the text and
    are neither sent nor counted. The engine tells ``cached_tokens`` and ``cache_miss``.
    """

    # Written out, here and in jobs.py: a dataclass costs a start 0.7 ms.
    __slots__ = ("cache_miss", "cached_tokens", "detokenizer", "ids", "max_tokens", "request", "stop_ids")  # fmt: skip

    def __init__(
        self,
        *,
        ids: list[int],
        max_tokens: int,
        stop_ids: frozenset[int],
        detokenizer: Detokenizer,
        request: Sampling,
    ) -> None:
        self.ids = ids
        self.max_tokens = max_tokens
        self.stop_ids = stop_ids
        self.detokenizer = detokenizer
        self.request = request
        self.cached_tokens = 0
        self.cache_miss: str | None = None


class ClassifyPrompts:
    """A `classify` made ready: each prompt's ids, and each label's as a continuation.

    ``left`` are the prompts' places, longest last: taken from its end, a group's prompts
    differ little in length. ``work`` is an engine's own, while it is at them.
    """

    __slots__ = ("labels", "left", "prompts", "request", "work")

    def __init__(
        self, *, prompts: list[list[int]], labels: dict[str, list[int]], request: Classify
    ) -> None:
        self.prompts = prompts
        self.labels = labels
        self.request = request
        self.left = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        self.work: Any = None


class BatchPrompts:
    """A `batch` made ready: each prompt, or the error that it alone ends with, in order."""

    __slots__ = ("_next", "_prompts")

    def __init__(self) -> None:
        self._prompts: list[Prompt | WireError] = []
        self._next = 0

    def add(self, prompt: Prompt | WireError) -> None:
        """The next prompt."""
        self._prompts.append(prompt)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(len(p.ids) for p in self._prompts if isinstance(p, Prompt))

    @property
    def cached_tokens(self) -> int:
        """Tokens of all prompts that were not computed, since an earlier request had."""
        return sum(p.cached_tokens for p in self._prompts if isinstance(p, Prompt))

    @property
    def left(self) -> int:
        """Prompts that have not started."""
        return len(self._prompts) - self._next

    @property
    def next_prompt(self) -> tuple[int, Prompt | WireError]:
        """The first that has not started, and its place."""
        return self._next, self._prompts[self._next]

    def advance(self) -> None:
        """It has started."""
        self._next += 1


class Classified(NamedTuple):
    """One prompt's next token: its text, id and natural log-probability; more if asked."""

    text: str
    token_id: int
    logprob: float
    logits: list[float] | None
    labels: dict[str, float] | None


class Sampled(NamedTuple):
    """One sequence's next token; log-probabilities, natural and in float32, where it asked:
    of the token, and of the likeliest ones as (id, log-probability), likeliest first."""

    prompt: Prompt
    token_id: int
    logprob: float | None = None
    top: list[tuple[int, float]] | None = None


class Prefilled(NamedTuple):
    """How much of one sequence's prompt has been computed, in tokens."""

    prompt: Prompt
    done: int


class Failed(NamedTuple):
    """One sequence can't go on; the engine has dropped it and keeps the others."""

    prompt: Prompt
    error: Exception


StepResult = Sampled | Prefilled | Failed


class Engine(ABC):
    """A model and the sequences that it is computing."""

    name: Literal["mlx", "mock"]

    @property
    @abstractmethod
    def model(self) -> ModelInfo | None:
        """What is loaded now."""

    @abstractmethod
    def preload(self) -> None:
        """Import what is heavy, once the handshake is answered."""

    @abstractmethod
    def load(self, request: Load, report: ProgressReport) -> ModelInfo:
        """Load and warm up. Raises WireError; the old model is kept if checks fail.

        ``report`` may raise `Cancelled`.
        """

    @abstractmethod
    def unload(self) -> None:
        """Drop the model and give its memory back."""

    @abstractmethod
    def prepare(self, request: Generate | Chat | Batch | Cache, index: int = 0) -> Prompt:
        """Template, tokens and limits; ``index`` is a batch's prompt. Raises WireError."""

    @abstractmethod
    def prepare_classify(self, request: Classify) -> ClassifyPrompts:
        """Tokens and limits of every prompt. Raises WireError."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many sequences may be computed at once."""

    @property
    @abstractmethod
    def decoding(self) -> bool:
        """Whether a sequence is past its prefill."""

    @abstractmethod
    def has_room(self, prompt: Prompt) -> bool:
        """Whether memory allows one more sequence now; always, where nothing runs."""

    @abstractmethod
    def add(self, prompt: Prompt) -> None:
        """Begin a sequence; its prefill goes on in `step`."""

    @abstractmethod
    def remove(self, prompts: Sequence[Prompt]) -> None:
        """Drop sequences wherever they are; unknown ones are ignored."""

    @abstractmethod
    def step(self) -> list[StepResult]:
        """Advance what runs by one bounded slice: a prefill chunk, a decode step."""

    @abstractmethod
    def classify(self, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        """One bounded slice of work on the prompts that are ``left``: what some of them, with their
        places, come to with it; nothing, while more slices are needed for any."""

    @abstractmethod
    def serve(self, request: Command, prompt: Prompt | None = None) -> Struct:
        """Answer `cache` or `memory`; ``prompt`` is the one to warm. Raises WireError."""

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """Bytes in use and at the peak."""

    @abstractmethod
    def close(self) -> None:
        """End helper processes; the process is about to exit."""
