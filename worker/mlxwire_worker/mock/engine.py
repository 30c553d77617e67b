"""A deterministic engine without MLX, for hosts' tests: the shipping loop runs over it.

It echoes. A prompt (of a chat: the last message) is cut into words, each with the space
before it; these are its tokens, and the answer is the same tokens followed by EOS. With
``ignore_eos`` the words repeat until ``max_tokens``. A token's id is a hash of its word, and
its probability 1, so the sampling options change nothing.
`faults/` breaks what is made of it on the way out.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Sequence
from typing import Literal

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
from mlxwire_protocol.replies import CacheResult, MemoryResult, ModelInfo

from ..engine import (
    Classified,
    ClassifyPrompts,
    Detokenizer,
    Engine,
    Prefilled,
    ProgressReport,
    Prompt,
    Sampled,
    StepResult,
)
from ..requests.admission import check_labels, check_sampling, context_overflow, warm_request

VOCABULARY = 65536
EOS = 0
CONTEXT = 131072
_WORD = re.compile(r"\s*\S+|\s+$")


class MockEngine(Engine):
    """The Engine that ships with the worker for tests. ``step_seconds`` paces its steps."""

    name: Literal["mlx", "mock"] = "mock"

    def __init__(self, step_seconds: float = 0.0) -> None:
        self._model: ModelInfo | None = None
        self._step_seconds = step_seconds
        self._words: dict[int, str] = {}
        self._running: dict[Prompt, int] = {}

    @property
    def model(self) -> ModelInfo | None:
        """What is loaded."""
        return self._model

    def preload(self) -> None:
        """Nothing here is heavy."""

    def load(self, request: Load, report: ProgressReport) -> ModelInfo:
        """Any path is a model."""
        report("load", 0, 1)
        self._model = ModelInfo(
            model_type="mock",
            vocab_size=VOCABULARY,
            layers=1,
            hidden_size=64,
            context_len=request.context_len or CONTEXT,
            quant_bits=0,
            quant_group=0,
            parameters=VOCABULARY * 64,
            weight_bytes=VOCABULARY * 128,
            path=request.path,
            adapter_path=request.adapter_path,
            chat_template=True,
            parallel_slots=request.parallel_slots or 8,
            capabilities={"classify": True, "thinking": False},
        )
        report("load", 1, 1)
        return self._model

    def unload(self) -> None:
        """Forget the model."""
        self._model = None

    @property
    def slots(self) -> int:
        """As many as `load` asked for."""
        return self.model.parallel_slots if self.model else 1

    def prepare(self, request: Generate | Chat | Batch | Cache, index: int = 0) -> Prompt:
        """Words as tokens."""
        sampling, text, field = _prompt_of(request, index)
        ids = [self._token_id(word) for word in _WORD.findall(text)] or [EOS + 1]
        context = self._model.context_len if self._model else CONTEXT
        if len(ids) >= context:
            raise context_overflow(field, len(ids), context)
        check_sampling(sampling, VOCABULARY)
        stop_ids = set(sampling.stop_tokens) | (set() if sampling.ignore_eos else {EOS})
        return Prompt(
            ids=ids,
            max_tokens=min(sampling.max_tokens, context - len(ids)),
            stop_ids=frozenset(stop_ids),
            detokenizer=_WordDetokenizer(self._words),
            request=sampling,
        )

    def prepare_classify(self, request: Classify) -> ClassifyPrompts:
        """Words as tokens, of prompts and labels."""
        labels = request.labels or []
        check_labels(labels)
        return ClassifyPrompts(
            prompts=[
                [self._token_id(word) for word in _WORD.findall(prompt)]
                for prompt in request.prompts
            ],
            labels={label: [self._token_id(label)] for label in labels},
            request=request,
        )

    def add(self, prompt: Prompt) -> None:
        """Begin; the next step prefills."""
        self._running[prompt] = -1

    def remove(self, prompts: Sequence[Prompt]) -> None:
        """Drop sequences."""
        for prompt in prompts:
            self._running.pop(prompt, None)

    def step(self) -> list[StepResult]:
        """One token for each sequence; a new one prefills whole."""
        if self._step_seconds:
            time.sleep(self._step_seconds)
        results: list[StepResult] = []
        for prompt, position in self._running.items():
            self._running[prompt] = position + 1
            if position < 0:
                results.append(Prefilled(prompt, len(prompt.ids)))
            else:
                results.append(_certain(prompt, _echo(prompt, position)))
        return results

    def classify(self, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        """One prompt: its first word is its class; labels are weighted by a hash of both."""
        index = prompts.left.pop()
        token_id = prompts.prompts[index][0]
        weights = {
            label: 1 + (zlib.crc32(f"{prompts.prompts[index]}{label}".encode()) % 1000)
            for label in prompts.labels
        }
        total = sum(weights.values())
        item = Classified(
            text=self._words[token_id],
            token_id=token_id,
            logprob=-0.5,
            logits=[float(place == token_id % 16) for place in range(16)]
            if prompts.request.logits
            else None,
            labels={label: weight / total for label, weight in weights.items()} or None,
        )
        return [(index, item)]

    @property
    def decoding(self) -> bool:
        """Whether a sequence has been prefilled."""
        return any(position >= 0 for position in self._running.values())

    def has_room(self, prompt: Prompt) -> bool:
        """Nothing here takes memory."""
        return True

    def serve(self, request: Command, prompt: Prompt | None = None) -> Struct:
        """`cache` and `memory` of an engine that keeps nothing."""
        if isinstance(request, Cache):
            if request.action in ("save", "load"):
                raise WireError("unsupported_capability", "the mock keeps no prompt cache")
            return CacheResult(
                id=request.id,
                entries=0,
                cached_bytes=0,
                limit_bytes=0,
                hits=0,
                misses=0,
                reused_tokens=0,
                evictions=0,
                rejected=0,
                affected=len(prompt.ids) if prompt else 0,
            )
        active, peak = self.memory()
        return MemoryResult(
            id=request.id,
            active_bytes=active,
            peak_bytes=peak,
            buffer_bytes=0,
            sequence_bytes=0,
            prompt_cache_bytes=0,
            memory_limit=0,
            prompt_cache_limit=0,
            buffer_limit=0,
            wired_limit=0,
            bytes_per_token=0,
        )

    def memory(self) -> tuple[int, int]:
        """As if the model were in memory."""
        size = self.model.weight_bytes if self.model else 0
        return size, size

    def close(self) -> None:
        """Nothing to end."""

    def _token_id(self, word: str) -> int:
        token_id = 1 + zlib.crc32(word.encode("utf-8", "replace")) % (VOCABULARY - 1)
        while self._words.setdefault(token_id, word) != word:
            token_id = 1 + token_id % (VOCABULARY - 1)
        return token_id


class _WordDetokenizer(Detokenizer):
    def __init__(self, words: dict[int, str]) -> None:
        self._words = words

    def add_token(self, token: int) -> str:
        return self._words.get(token, "")

    def text_of(self, token: int) -> str:
        return self.add_token(token)

    def finalize(self) -> str:
        return ""


def _echo(prompt: Prompt, position: int) -> int:
    """The token at a place of the answer: the prompt again, then EOS where that may come."""
    words, least = len(prompt.ids), prompt.request.min_tokens
    if position < max(words, least) or EOS not in prompt.stop_ids:
        return prompt.ids[position % words]
    return EOS


def _certain(prompt: Prompt, token_id: int) -> Sampled:
    """A token of probability 1: no temperature, penalty or bias could choose another."""
    request = prompt.request
    if not request.logprobs:
        return Sampled(prompt, token_id)
    top = [(token_id, 0.0)] if request.top_logprobs else None
    return Sampled(prompt, token_id, 0.0, top)


def _prompt_of(
    request: Generate | Chat | Batch | Cache, index: int
) -> tuple[Sampling, str, str]:
    """The sampling, text and field of a request's prompt."""
    match request:
        case Generate():
            return request, request.prompt, "prompt"
        case Chat():
            return request, request.messages[-1].content, "messages"
        case Batch():
            return request, request.prompts[index], f"prompts[{index}]"
        case Cache():
            chat = warm_request(request)
            return _prompt_of(chat, 0)
