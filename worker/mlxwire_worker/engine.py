"""What the scheduler asks of an engine. It knows no MLX; the mock and the real one fit it.

All methods run on the engine's thread, except `prepare` and `prepare_classify` (the prepare
thread) and `memory` (any).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mlxwire_protocol.messages import Chat, Classify, Generate, Load
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


@dataclass(slots=True, eq=False)
class Prompt:
    """A request made ready for the engine: ids checked, limits worked out.

    ``max_tokens`` is cut to the room that the context leaves. ``stop_ids`` end the text and
    are neither sent nor counted.
    """

    ids: list[int]
    max_tokens: int
    stop_ids: frozenset[int]
    detokenizer: Detokenizer
    request: Generate | Chat
    cached_tokens: int = 0
    cache_miss: str | None = None


@dataclass(slots=True, eq=False)
class ClassifyPrompts:
    """A `classify` made ready: each prompt's ids, and each label's as a continuation."""

    prompts: list[list[int]]
    labels: dict[str, list[int]]
    request: Classify


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
    def prepare(self, request: Generate | Chat) -> Prompt:
        """Template, tokens and limits. Raises WireError."""

    @abstractmethod
    def prepare_classify(self, request: Classify) -> ClassifyPrompts:
        """Tokens and limits of every prompt. Raises WireError."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many sequences may be computed at once."""

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
    def classify(self, prompts: ClassifyPrompts, index: int) -> Classified:
        """One prompt of a `classify`, one forward pass."""

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """Bytes in use and at the peak."""

    @abstractmethod
    def close(self) -> None:
        """End helper processes; the process is about to exit."""
