"""The inputs and results of one-pass work: labels, embeddings, reranking, scores. Imports no MLX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from mlxwire_protocol import WireError

from .prompts import AdapterUse, ChatInput, Prompt

TextInput = str | list[int]
"""A text as a string, or as token ids."""


class EmbedOptions(Struct, kw_only=True, frozen=True):
    """Options that turn texts into vectors (SPEC §4.20); None leaves what the model's folder says."""

    dimensions: int | None = None
    normalize: bool | None = None
    instruction: str | None = None
    prompt_name: str | None = None
    pooling: str | None = None


class Texts:
    """Texts that are computed in groups, slice by slice.

    ``ids`` are the token ids of each text; a text that failed has none, and its error is in ``failed``.
    ``left`` are the indices of the texts whose work has not begun, longest text last. ``options`` and
    ``work`` belong to the engine: how the texts are computed, and the unfinished work.
    """

    __slots__ = ("adapter", "failed", "ids", "left", "options", "work")

    def __init__(
        self,
        *,
        ids: list[list[int]],
        failed: dict[int, WireError] | None = None,
        adapter: AdapterUse | None = None,
        options: Any = None,
    ) -> None:
        self.ids = ids
        self.failed = failed or {}
        self.adapter = adapter
        self.options = options
        whole = (place for place in range(len(ids)) if place not in self.failed)
        self.left = sorted(whole, key=lambda place: len(ids[place]))
        self.work: Iterator[Any] | None = None

    @property
    def unfinished(self) -> bool:
        """Return True if a text has no result: it is left, or its group is at work."""
        return bool(self.left) or self.work is not None


class Endings(NamedTuple):
    """The ids behind a prompt for each label, as the tokenizer writes prompt and label together.

    A tokenizer may join a prompt's last characters with a label's first. The ids of all labels then
    take the place of the prompt's last ``replaced`` ids, so that all labels follow the same ids.
    """

    labels: tuple[tuple[int, ...], ...] = ()
    replaced: int = 0


ClassifyPrompt = str | ChatInput | WireError
"""A raw prompt, a conversation, or why that prompt alone fails."""


class ClassifyInput(Struct, kw_only=True, frozen=True):
    """The prompts of a `classify`, raw or as conversations, and the ``labels`` that may follow them.

    ``separator`` stands between a prompt and what follows it. ``fields`` are the prompts' names in
    errors.
    """

    prompts: Sequence[ClassifyPrompt]
    fields: Sequence[str]
    labels: list[str] = []
    separator: str = ""
    logits: bool = False


class ClassifyPrompts(Texts):
    """The prompts of a `classify`, with the ``endings`` of each prompt.

    In ``left`` prompts with equal endings stand together, longest last. ``drawn`` has the options by
    which each prompt's token is drawn; None takes the likeliest.
    """

    __slots__ = ("drawn", "endings", "labels", "logits")

    def __init__(
        self,
        *,
        ids: list[list[int]],
        labels: Sequence[str] = (),
        endings: Sequence[Endings] | None = None,
        failed: dict[int, WireError] | None = None,
        logits: bool = False,
        drawn: Prompt | None = None,
        adapter: AdapterUse | None = None,
    ) -> None:
        super().__init__(ids=ids, failed=failed, adapter=adapter)
        self.labels = labels
        self.endings = [Endings()] * len(ids) if endings is None else endings
        self.logits = logits
        self.drawn = drawn
        order = {each: number for number, each in enumerate(dict.fromkeys(self.endings))}
        self.left.sort(key=lambda place: order[self.endings[place]])


class Classified(NamedTuple):
    """One prompt's next token: its text, id and natural log-probability; more if asked."""

    text: str
    token_id: int
    logprob: float
    logits: list[float] | None
    labels: dict[str, float] | None


class Scored(NamedTuple):
    """The natural log-probability of each token but the first, given those before it."""

    logprobs: list[float]


class MessageTokens(NamedTuple):
    """The tokens of one message in a rendered conversation."""

    start: int
    size: int


class Rendered(NamedTuple):
    """The prompt that a conversation becomes; the answer begins at the token ``answer_start``."""

    text: str
    ids: list[int]
    messages: list[MessageTokens]
    answer_start: int
