"""The mock's `classify`: the first word is the next token, and hashes give the labels' weights."""

from __future__ import annotations

import zlib

from mlxwire_protocol import WireError
from mlxwire_protocol.results import ModelInfo

from ..passes import Classified, ClassifyInput, ClassifyPrompts
from ..prompts import ChatInput, SamplingParams
from ..requests.admission import check_labels, context_overflow
from .description import CONTEXT
from .words import EOS, Words


class MockClassify:
    """The part of the mock engine that classifies."""

    _model: ModelInfo | None
    _words: Words

    def classify_prompts(self, given: ClassifyInput, params: SamplingParams) -> ClassifyPrompts:
        """Split prompts, or the last messages of conversations, into words, as their tokens."""
        check_labels(given.labels)
        context = self._model.context_len if self._model else CONTEXT
        ids: list[list[int]] = []
        failed: dict[int, WireError] = {}
        for place, prompt in enumerate(given.prompts):
            if isinstance(prompt, WireError):
                failed[place] = prompt
                ids.append([])
                continue
            text = prompt.messages[-1]["content"] if isinstance(prompt, ChatInput) else prompt
            own = self._words.ids(text + given.separator) or [EOS + 1]
            if len(own) >= context:
                failed[place] = context_overflow(given.fields[place], len(own), context)
                own = []
            ids.append(own)
        return ClassifyPrompts(ids=ids, labels=given.labels, failed=failed, logits=given.logits)

    def classify(self, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        """Classify one prompt."""
        index = prompts.left.pop()
        token_id = prompts.ids[index][0]
        weights = {
            label: 1 + (zlib.crc32(f"{prompts.ids[index]}{label}".encode()) % 1000)
            for label in prompts.labels
        }
        total = sum(weights.values())
        item = Classified(
            text=self._words.text_of(token_id),
            token_id=token_id,
            logprob=-0.5,
            logits=[float(place == token_id % 16) for place in range(16)]
            if prompts.logits
            else None,
            labels={label: weight / total for label, weight in weights.items()} or None,
        )
        return [(index, item)]
