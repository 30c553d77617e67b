"""A deterministic engine without MLX, for tests of hosts. The rest of the worker is real.

The mock echoes its input. It splits the prompt (of a chat: the last message) into words, each
with the space before it. These words are its tokens, and the answer is the same tokens and then
EOS. With ``ignore_eos`` the words repeat until ``max_tokens``. A token's id is a hash of its
word, and its probability is 1, so sampling options change nothing. `faults/` can damage the
worker's messages. In a chat, <think> and </think> in what it echoes are marks of thoughts, and with
tools <tool_call> and </tool_call> those of a call, as Qwen writes it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from mlxwire_protocol.commands import EngineName
from mlxwire_protocol.formats import TextFormat
from mlxwire_protocol.results import AdapterInfo, ModelInfo

from ..engine import (
    CacheFigures,
    Engine,
    LoadOptions,
    MemoryFigures,
    MemoryLimits,
    MemoryUse,
    ProgressReport,
)
from ..process.child.program import tied_command
from ..process.data_roots import DataRoots
from ..prompts import (
    ChatInput,
    Prefilled,
    Prompt,
    SamplingParams,
    StepResult,
)
from ..requests.admission import (
    check_adapter,
    check_known,
    check_sampling,
    context_overflow,
)
from ..training_site import TrainingSite
from .answers import certain, check_chat, echo, split_answer
from .classifying import MockClassify
from .description import CONTEXT, adapter_info, describe, no_prompt_cache, unsupported
from .texts import MockTexts
from .words import EOS, VOCABULARY, WordDetokenizer, Words


class MockEngine(MockTexts, MockClassify, Engine):
    """An `Engine` for tests; each of its steps takes at least ``step_seconds``."""

    name: EngineName = "mock"

    def __init__(self, step_seconds: float = 0.0, data_roots: tuple[str, ...] = ()) -> None:
        self._model: ModelInfo | None = None
        self._step_seconds = step_seconds
        self._words = Words()
        self._running: dict[Prompt, int] = {}
        self._limits = MemoryLimits()
        self._adapters: dict[str, AdapterInfo] = {}
        command = tied_command("mlxwire_worker.mock.training", str(step_seconds))
        self._site = TrainingSite(command, DataRoots(data_roots), Path)

    @property
    def model(self) -> ModelInfo | None:
        """The loaded model."""
        if self._model is None:
            return None
        return structs.replace(self._model, adapters=self.adapters())

    @property
    def warnings(self) -> list[str]:
        """Return a sentence for each limit of the last load; none has an effect here."""
        given = structs.asdict(self._limits)
        return [
            f"`{name}` is {given[name]}, but the mock needs no memory, so the limit has no effect"
            for name in ("memory_limit", "prompt_cache_limit")
            if given[name] is not None
        ]

    def preload(self) -> None:
        """Do nothing: the mock has no heavy imports."""

    def load(self, options: LoadOptions, report: ProgressReport) -> ModelInfo:
        """Accept any path as a model; refuse options that need a real model."""
        model = describe(options)
        report("load", 0, 1)
        self._model = model
        self._adapters.clear()
        self._limits = MemoryLimits(
            memory_limit=options.memory_limit, prompt_cache_limit=options.prompt_cache_limit
        )
        report("load", 1, 1)
        return self._model

    def unload(self) -> None:
        """Drop the model."""
        self._model = None

    @property
    def slots(self) -> int:
        """Return the number of slots that `load` set."""
        return self.model.parallel_slots if self.model else 1

    def check_params(self, params: SamplingParams) -> None:
        """Refuse options that no engine honours."""
        check_sampling(params, VOCABULARY)
        if params.adapter is not None:
            check_adapter(params.adapter, self._adapters)
        if not isinstance(params.response_format, TextFormat | None):
            raise unsupported("response_format")

    def text_prompt(self, text: str, params: SamplingParams, *, field: str) -> Prompt:
        """Split a raw prompt into words, as its tokens."""
        ids = self._words.ids(text) or [EOS + 1]
        context = self._model.context_len if self._model else CONTEXT
        if len(ids) >= context:
            raise context_overflow(field, len(ids), context)
        stop_ids = set(params.stop_tokens) | (set() if params.ignore_eos else {EOS})
        return Prompt(
            ids=ids,
            max_tokens=min(params.max_tokens, context - len(ids)),
            stop_ids=frozenset(stop_ids),
            detokenizer=WordDetokenizer(self._words),
            params=params,
        )

    def chat_prompt(self, chat: ChatInput, params: SamplingParams) -> Prompt:
        """Split the last message into words, as its tokens."""
        check_chat(chat)
        prompt = self.text_prompt(chat.messages[-1]["content"], params, field="messages")
        if chat.separates_channels:
            split_answer(prompt, chat)
        return prompt

    def text_ids(self, text: str, *, special_tokens: bool) -> list[int]:
        """Return the ids of a text's words; the mock has no special tokens."""
        return self._words.ids(text)

    def chat_ids(self, chat: ChatInput) -> list[int]:
        """Split the last message into words, as its tokens."""
        check_chat(chat)
        return self._words.ids(chat.messages[-1]["content"])

    def pieces(self, ids: list[int]) -> list[str]:
        """Return the word of each token id."""
        return [self._words.text_of(token_id) for token_id in ids]

    def text_of(self, ids: list[int]) -> str:
        """Return the words of token ids, joined."""
        check_known(ids, "ids", VOCABULARY)
        return "".join(self.pieces(ids))

    def add(self, prompt: Prompt) -> None:
        """Add a sequence; the next step computes its prompt."""
        self._running[prompt] = -1

    def remove(self, prompts: Sequence[Prompt]) -> None:
        """Drop sequences."""
        for prompt in prompts:
            self._running.pop(prompt, None)

    def step(self) -> list[StepResult]:
        """Return one token for each sequence; compute the whole prompt of a new one."""
        if self._step_seconds:
            time.sleep(self._step_seconds)
        results: list[StepResult] = []
        for prompt, position in self._running.items():
            self._running[prompt] = position + 1
            if position < 0:
                results.append(Prefilled(prompt, len(prompt.ids)))
            else:
                results.append(certain(prompt, echo(prompt, position)))
        return results

    @property
    def decoding(self) -> bool:
        """Return True if a sequence is past its prefill."""
        return any(position >= 0 for position in self._running.values())

    def has_room(self, prompt: Prompt) -> bool:
        """Return True: sequences of the mock take no memory."""
        return True

    def cache_figures(self) -> CacheFigures:
        """Describe a cache that keeps nothing."""
        return CacheFigures()

    def clear_cache(self) -> int:
        """Drop nothing."""
        return 0

    def save_cache(self, path: str) -> int:
        """Refuse: there is nothing to save."""
        raise no_prompt_cache()

    def load_cache(self, path: str) -> int:
        """Refuse: there is nowhere to load it to."""
        raise no_prompt_cache()

    def load_adapter(self, name: str, path: str) -> None:
        """Accept any folder as an adapter, which changes no answer."""
        self._adapters.pop(name, None)
        self._adapters[name] = adapter_info(name, path)

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter. Raises: WireError ``invalid_params`` for an unknown name."""
        check_adapter(name, self._adapters, field="name")
        del self._adapters[name]

    def adapters(self) -> list[AdapterInfo]:
        """Return the adapters that requests may name."""
        return list(self._adapters.values())

    @property
    def training_site(self) -> TrainingSite:
        """Return a program that follows a script of losses."""
        return self._site

    def warmed_tokens(self, prompt: Prompt) -> int:
        """Return the prompt's length, as if the cache held it."""
        return len(prompt.ids)

    def set_memory(self, limits: MemoryLimits, *, clear: bool) -> MemoryFigures:
        """Store the limits, which bound nothing here, and return them."""
        self._limits = structs.replace(
            self._limits,
            **{name: n for name, n in structs.asdict(limits).items() if n is not None},
        )
        kept = {name: n or 0 for name, n in structs.asdict(self._limits).items()}
        use = self.memory()
        return MemoryFigures(active_bytes=use.active_bytes, peak_bytes=use.peak_bytes, **kept)

    def memory(self) -> MemoryUse:
        """Return the size that the model claims to have."""
        size = self.model.weight_bytes if self.model else 0
        return MemoryUse(size, size, size)

    def restart_peak(self) -> int:
        """Return the size that the model claims to have."""
        return self.memory().recent_peak_bytes

    def close(self) -> None:
        """Do nothing: the mock has no helper process."""
