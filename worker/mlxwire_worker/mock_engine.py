"""A deterministic engine without MLX, for hosts' tests: the shipping loop runs over it.

It echoes. A prompt (of a chat: the last message) is cut into words, each with the space
before it; these are its tokens, and the answer is the same tokens followed by EOS. With
``ignore_eos`` the words repeat until ``max_tokens``. A token's id is a hash of its word.
Fault scripts will hook in here.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Sequence
from typing import Literal

from mlxwire_protocol import WireError, invalid_params
from mlxwire_protocol.messages import Chat, Classify, Generate, Load
from mlxwire_protocol.replies import ModelInfo

from .engine import (
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

VOCABULARY = 65536
EOS = 0
CONTEXT = 8192
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

    def prepare(self, request: Generate | Chat) -> Prompt:
        """Words as tokens."""
        text = request.prompt if isinstance(request, Generate) else request.messages[-1].content
        ids = [self._token_id(word) for word in _WORD.findall(text)] or [EOS + 1]
        context = self.model.context_len if self.model else CONTEXT
        if len(ids) >= context:
            raise context_overflow(len(ids), context)
        if request.top_k > VOCABULARY:
            raise invalid_params(
                "top_k", f"`top_k` may be at most {VOCABULARY}, the vocabulary"
            )
        _check_token_ids(request.stop_tokens)
        stop_ids = set(request.stop_tokens) | (set() if request.ignore_eos else {EOS})
        return Prompt(
            ids=ids,
            max_tokens=min(request.max_tokens, context - len(ids)),
            stop_ids=frozenset(stop_ids),
            detokenizer=_WordDetokenizer(self._words),
            request=request,
        )

    def prepare_classify(self, request: Classify) -> ClassifyPrompts:
        """Words as tokens, of prompts and labels."""
        return ClassifyPrompts(
            prompts=[
                [self._token_id(word) for word in _WORD.findall(prompt)]
                for prompt in request.prompts
            ],
            labels={label: [self._token_id(label)] for label in request.labels},
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
            elif position < len(prompt.ids) or EOS not in prompt.stop_ids:
                results.append(Sampled(prompt, prompt.ids[position % len(prompt.ids)]))
            else:
                results.append(Sampled(prompt, EOS))
        return results

    def classify(self, prompts: ClassifyPrompts, index: int) -> Classified:
        """The prompt's first word as its class; labels weighted by a hash of both."""
        token_id = prompts.prompts[index][0]
        weights = {
            label: 1 + (zlib.crc32(f"{prompts.prompts[index]}{label}".encode()) % 1000)
            for label in prompts.labels
        }
        total = sum(weights.values())
        return Classified(
            text=self._words[token_id],
            token_id=token_id,
            logprob=-0.5,
            logits=[float(place == token_id % 16) for place in range(16)]
            if prompts.request.logits
            else None,
            labels={label: weight / total for label, weight in weights.items()} or None,
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


def _check_token_ids(ids: Sequence[int]) -> None:
    for token_id in ids:
        if token_id >= VOCABULARY:
            raise invalid_params(
                "stop_tokens", f"token id {token_id} is not in the vocabulary of {VOCABULARY}"
            )


def context_overflow(prompt_tokens: int, context_len: int) -> WireError:
    """A prompt that leaves no room for an answer, with both numbers."""
    return WireError(
        "context_overflow",
        f"the prompt has {prompt_tokens} tokens and the context {context_len}, which leaves no "
        "room to answer; shorten the prompt or load with a larger context_len",
        data={"prompt_tokens": prompt_tokens, "context_len": context_len},
    )
