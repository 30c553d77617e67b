"""The interface between the worker's loop and an engine. Imports no MLX and no wire message.

All methods run on the engine's thread, except those that say otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from mlxwire_protocol.results import AdapterInfo, ModelInfo

from .optional_work import OptionalWork
from .passes import Classified, ClassifyInput, ClassifyPrompts
from .prompts import ChatInput, Prompt, SamplingParams, StepResult
from .training_site import TrainingSite

ProgressReport = Callable[[str, float, float], None]
"""Called with a stage, how much is done and the total, in the stage's unit. Any thread.

A report that repeats the last one tells that the stage goes on.
"""


class Cancelled(Exception):
    """Raised by a long operation when its job was cancelled."""


DEFAULT_KV_GROUP_SIZE = 64
"""Numbers that share a scale in quantized keys and values."""


class LoadOptions(Struct, kw_only=True, frozen=True):
    """Options of a load (SPEC §4.1): sizes in tokens, limits in bytes."""

    path: str
    context_len: int | Literal["auto"] | None = None
    adapter_path: str | None = None
    parallel_slots: int | None = None
    warmup: bool = True
    context_policy: Literal["refuse", "rotate", "rotate_if_possible"] = "refuse"
    kv_bits: int | None = None
    kv_group_size: int = DEFAULT_KV_GROUP_SIZE
    memory_limit: int | None = None
    prompt_cache_limit: int | None = None
    prefill_seconds: float = 0.1
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16", "stored"] = "auto"

    @property
    def asked_context(self) -> int | None:
        """Return the number of tokens that the host asks for; None if the worker chooses."""
        return None if self.context_len == "auto" else self.context_len


class CacheFigures(NamedTuple):
    """The prompt cache: sequences, bytes, and counts since the model was loaded."""

    entries: int = 0
    cached_bytes: int = 0
    limit_bytes: int = 0
    hits: int = 0
    misses: int = 0
    reused_tokens: int = 0
    evictions: int = 0
    rejected: int = 0


class MemoryLimits(Struct, kw_only=True, frozen=True):
    """Limits to set, in bytes; None leaves one as it is."""

    memory_limit: int | None = None
    prompt_cache_limit: int | None = None
    buffer_limit: int | None = None
    wired_limit: int | None = None


class MemoryFigures(NamedTuple):
    """Bytes in use and at the peak, kept for reuse, held by sequences and by the prompt cache,
    and the limits in force, 0 for none."""

    active_bytes: int = 0
    peak_bytes: int = 0
    buffer_bytes: int = 0
    sequence_bytes: int = 0
    prompt_cache_bytes: int = 0
    memory_limit: int = 0
    prompt_cache_limit: int = 0
    buffer_limit: int = 0
    wired_limit: int = 0
    bytes_per_token: int = 0


class MemoryUse(NamedTuple):
    """Bytes in use now, at the peak, and at the peak since the last `Engine.restart_peak`."""

    active_bytes: int = 0
    peak_bytes: int = 0
    recent_peak_bytes: int = 0


class Engine(OptionalWork, ABC):
    """A model and the sequences that it is computing."""

    @property
    @abstractmethod
    def model(self) -> ModelInfo | None:
        """Return the description of the loaded model; None without a model. Any thread."""

    @property
    @abstractmethod
    def warnings(self) -> list[str]:
        """Return what the last load could not do as asked, in sentences. The engine's thread."""

    @abstractmethod
    def preload(self) -> None:
        """Import heavy modules, after the handshake has been answered."""

    @abstractmethod
    def load(self, options: LoadOptions, report: ProgressReport) -> ModelInfo:
        """Load and warm up a model; keep the old one if the new one's checks fail.

        ``report`` may raise `Cancelled`. Raises: WireError.
        """

    @abstractmethod
    def unload(self) -> None:
        """Drop the model and free its memory."""

    # -- the prepare thread: text and tokens ----------------------------------------------

    @abstractmethod
    def check_params(self, params: SamplingParams) -> None:
        """Refuse options that the model can't honour. Raises: WireError ``invalid_params``."""

    @abstractmethod
    def text_prompt(self, text: str, params: SamplingParams, *, field: str) -> Prompt:
        """Tokenize and check a raw prompt; ``field`` is its name in errors.

        Raises: WireError ``context_overflow``, ``invalid_params``.
        """

    @abstractmethod
    def chat_prompt(self, chat: ChatInput, params: SamplingParams) -> Prompt:
        """Render and tokenize a conversation. Raises: WireError, also if no template fits."""

    @abstractmethod
    def classify_prompts(self, given: ClassifyInput, params: SamplingParams) -> ClassifyPrompts:
        """Tokenize and check prompts and labels; ``params`` choose each prompt's token.

        A prompt that is too long, or that the template refuses, fails by itself.
        Raises: WireError for labels, and if the model has no chat template.
        """

    @abstractmethod
    def text_ids(self, text: str, *, special_tokens: bool) -> list[int]:
        """Return the token ids of a text.

        With ``special_tokens`` the ids are those of a raw prompt: the model's opening token
        comes first, and special tokens that are written in the text count as such. Without it
        the ids are those of the text alone.
        """

    @abstractmethod
    def chat_ids(self, chat: ChatInput) -> list[int]:
        """Return the token ids of a conversation. Raises: WireError, as `chat_prompt`."""

    @abstractmethod
    def pieces(self, ids: list[int]) -> list[str]:
        """Return the text of each token by itself, as it reads within a text."""

    @abstractmethod
    def text_of(self, ids: list[int]) -> str:
        """Decode token ids to a text. Raises: WireError ``invalid_params``."""

    # -- the engine's thread: sequences ---------------------------------------------------

    @property
    @abstractmethod
    def slots(self) -> int:
        """Return the number of sequences that may be computed at once."""

    @property
    @abstractmethod
    def decoding(self) -> bool:
        """Return True if a sequence is past its prefill."""

    @abstractmethod
    def has_room(self, prompt: Prompt) -> bool:
        """Return True if memory allows one more sequence now, or if none is running."""

    @abstractmethod
    def add(self, prompt: Prompt) -> None:
        """Add a sequence; later steps compute its prompt."""

    @abstractmethod
    def remove(self, prompts: Sequence[Prompt]) -> None:
        """Drop sequences in any state; ignore unknown ones."""

    @abstractmethod
    def step(self) -> list[StepResult]:
        """Advance the sequences by one decode step and one bounded slice of prefill."""

    @abstractmethod
    def classify(self, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        """Compute one bounded slice of the prompts that are ``left``.

        Return the results that the slice completes, each with its prompt's index. The list is
        empty if the results need more slices.
        """

    # -- the engine's thread: cache and memory ------------------------------------------------

    @abstractmethod
    def cache_figures(self) -> CacheFigures:
        """Describe the prompt cache."""

    @abstractmethod
    def clear_cache(self) -> int:
        """Drop the prompt cache; return how many sequences it held."""

    @abstractmethod
    def save_cache(self, path: str) -> int:
        """Write the prompt cache to a file; return how many sequences. Raises: WireError."""

    @abstractmethod
    def load_cache(self, path: str) -> int:
        """Read a prompt cache from a file; return how many sequences. Raises: WireError."""

    @abstractmethod
    def warmed_tokens(self, prompt: Prompt) -> int:
        """Return how many tokens of an ended sequence the prompt cache holds: all or 0."""

    @abstractmethod
    def set_memory(self, limits: MemoryLimits, *, clear: bool) -> MemoryFigures:
        """Set limits, drop the buffers kept for reuse if ``clear``, and describe the memory.

        Raises: WireError ``invalid_params`` for a limit that can't be set.
        """

    @abstractmethod
    def memory(self) -> MemoryUse:
        """Return the memory in use and its peaks. Any thread."""

    @abstractmethod
    def restart_peak(self) -> int:
        """Return the peak in bytes since the last call, and begin to measure the next one."""

    # -- the engine's thread: adapters --------------------------------------------------------

    @abstractmethod
    def load_adapter(self, name: str, path: str) -> None:
        """Load an adapter under a name, in place of one that has it. Raises: WireError."""

    @abstractmethod
    def unload_adapter(self, name: str) -> None:
        """Take an adapter's name away; requests in flight go on with it. Raises: WireError."""

    @abstractmethod
    def adapters(self) -> list[AdapterInfo]:
        """Return the adapters that requests may name."""

    # -- any thread: trainings ----------------------------------------------------------------

    @property
    @abstractmethod
    def training_site(self) -> TrainingSite:
        """Return the program that trains models of this engine, and the paths that it may use."""

    # -- the end -----------------------------------------------------------------------------

    @abstractmethod
    def close(self) -> None:
        """End helper processes before the worker exits."""
