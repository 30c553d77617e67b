"""The mock's vectors, scores and renders: numbers from hashes of words, and no model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mlxwire_protocol import WireError, invalid_params
from mlxwire_protocol.results import AdapterInfo, ModelInfo

from ..folders import Fit, FitOptions, FoundFolder
from ..optional_work import OptionalWork
from ..passes import EmbedOptions, MessageTokens, Rendered, Scored, TextInput, Texts
from ..prompts import ChatInput
from ..requests.admission import check_adapter, check_given, check_known, context_overflow
from .answers import check_chat
from .description import CONTEXT, CONTEXT_BYTES, WEIGHT_BYTES, context_of
from .words import VOCABULARY, Words

DIMENSIONS = 16
"""The numbers of a vector."""


class MockTexts(OptionalWork):
    """The part of the mock engine that reads texts and generates none."""

    _model: ModelInfo | None
    _words: Words
    _adapters: dict[str, AdapterInfo]

    def rendered(self, chat: ChatInput) -> Rendered:
        """Return the contents, each behind its role; a message's words are its tokens."""
        check_chat(chat)
        texts = [f"{turn['role']}: {turn.get('content') or ''}\n" for turn in chat.messages]
        ids: list[int] = []
        messages: list[MessageTokens] = []
        for text in texts:
            own = self._words.ids(text)
            messages.append(MessageTokens(len(ids), len(own)))
            ids += own
        end = len(ids)
        ids += self._words.ids("assistant:")
        return Rendered("".join(texts) + "assistant:", ids, messages, end)

    def embed_texts(
        self, texts: list[TextInput], options: EmbedOptions, adapter: str | None
    ) -> Texts:
        """Split texts into words, as their tokens."""
        self._check_adapter(adapter)
        if options.dimensions is not None and options.dimensions > DIMENSIONS:
            raise invalid_params(
                "dimensions",
                f"`dimensions` is {options.dimensions}, but the mock's vectors have "
                f"{DIMENSIONS} numbers; ask for at most these",
            )
        return self._checked("texts", texts, options)

    def embed(self, texts: Texts) -> list[tuple[int, list[float]]]:
        """Return one text's vector, by its words alone."""
        index = texts.left.pop()
        options = texts.options
        assert isinstance(options, EmbedOptions)
        vector = [0.0] * DIMENSIONS
        for token in texts.ids[index]:
            vector[token % DIMENSIONS] += 1.0
        vector = vector[: options.dimensions]
        length = math.hypot(*vector)
        if options.normalize is not False and length:
            vector = [number / length for number in vector]
        return [(index, vector)]

    def score_texts(self, texts: list[TextInput], adapter: str | None) -> Texts:
        """Split texts into words, as their tokens."""
        self._check_adapter(adapter)
        return self._checked("texts", texts)

    def score(self, texts: Texts) -> list[tuple[int, Scored]]:
        """Give each token the probability 1/2."""
        index = texts.left.pop()
        return [(index, Scored([-math.log(2)] * (len(texts.ids[index]) - 1)))]

    def rerank_pairs(
        self, query: str, documents: list[str], instruction: str | None, adapter: str | None
    ) -> Texts:
        """Split documents into words; the query's words are the options."""
        self._check_adapter(adapter)
        return self._checked("documents", documents, self._ids_of(query))

    def rerank(self, pairs: Texts) -> list[tuple[int, float]]:
        """Return the share of the query's words that one document has."""
        index = pairs.left.pop()
        wanted = {self._plain(token) for token in pairs.options}
        found = {self._plain(token) for token in pairs.ids[index]}
        return [(index, len(wanted & found) / len(wanted))]

    def find_models(
        self, paths: list[str], *, hub_cache: bool, full: bool
    ) -> Iterator[FoundFolder | None]:
        """Yield a folder for each path that exists, as a model of the mock."""
        for path in paths:
            folder = Path(path).resolve()
            if folder.is_dir():
                yield FoundFolder(str(folder), folder.name, _described())
            else:
                error = WireError(
                    "model_not_found",
                    f"there is no folder {path}; check the path",
                    data={"path": path},
                )
                yield FoundFolder(str(folder), folder.name, error=error)

    def fit(self, options: FitOptions) -> Fit:
        """Predict the memory that the mock claims to take."""
        context = context_of(options.context_len)
        slots = options.parallel_slots or 8
        total = WEIGHT_BYTES + slots * context * CONTEXT_BYTES
        available = options.memory_limit or 1 << 34
        longest = max(available - WEIGHT_BYTES, 0) // (slots * CONTEXT_BYTES)
        return Fit(
            path=options.path or "mock",
            model_type="mock",
            compute_dtype="none",
            kv_bits=0,
            context_len=context,
            parallel_slots=slots,
            weight_bytes=WEIGHT_BYTES,
            bytes_per_token=CONTEXT_BYTES,
            sequence_bytes=0,
            cache_bytes=slots * context * CONTEXT_BYTES,
            scratch_bytes=0,
            total_bytes=total,
            available_bytes=available,
            fits=total <= available,
            max_context_len=min(longest, CONTEXT),
        )

    def _checked(self, field: str, texts: Sequence[TextInput], options: Any = None) -> Texts:
        """Return texts as tokens; one that is empty, or longer than the context, fails by itself."""
        ids: list[list[int]] = []
        failed: dict[int, WireError] = {}
        for place, text in enumerate(texts):
            own = f"{field}[{place}]"
            try:
                ids.append(self._checked_ids(text, own))
            except WireError as error:
                if error.field != own:
                    raise
                failed[place] = error.with_traceback(None)
                ids.append([])
        return Texts(ids=ids, failed=failed, options=options)

    def _checked_ids(self, text: TextInput, field: str) -> list[int]:
        check_given(text, field)
        if not isinstance(text, str):
            check_known(text, field, VOCABULARY)
        ids = self._ids_of(text)
        context = self._model.context_len if self._model else CONTEXT
        if len(ids) > context:
            raise context_overflow(field, len(ids), context, answered=False)
        return ids

    def _check_adapter(self, name: str | None) -> None:
        if name is not None:
            check_adapter(name, self._adapters)

    def _ids_of(self, text: TextInput) -> list[int]:
        return self._words.ids(text) if isinstance(text, str) else text

    def _plain(self, token: int) -> str:
        return self._words.text_of(token).strip().lower()


def _described() -> dict[str, object]:
    return {
        "model_type": "mock",
        "architecture": None,
        "vocab_size": VOCABULARY,
        "layers": 1,
        "hidden_size": 64,
        "context_len": CONTEXT,
        "quant_bits": 0,
        "quant_group": 0,
        "quant_mode": "",
        "parameters": VOCABULARY * 64,
        "weight_bytes": WEIGHT_BYTES,
        "chat_template": True,
        "capabilities": {},
        "compute_dtype": "none",
        "dtype_bytes": {},
    }
