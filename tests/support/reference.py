"""The answers of mlx-lm itself and transformers: the truth that the worker is held to."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm import load, stream_generate
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import dequantize_model

from mlxwire_worker.mlx_engine.mlx_patches.blas import in_use
from support.byte_runs import decode_kept

Messages = list[dict[str, str]]


@functools.lru_cache(maxsize=32)
def reference(path: Path, adapter: Path | None = None, *, stored: bool = False) -> Reference:
    """Load a model as mlx-lm does, once, to compute in the dtype that a worker chooses.

    That is float32 where a fast BLAS is in use, and with ``stored`` the dtype of the weights.
    """
    expand = mx.default_device() == mx.cpu and not in_use().slow and not stored
    return Reference(path, adapter, expand=expand)


class Reference:
    """A model in this process."""

    def __init__(self, path: Path, adapter: Path | None, *, expand: bool) -> None:
        self.model, self.tokenizer = load(
            str(path), adapter_path=str(adapter) if adapter else None
        )
        if expand:
            self.model = dequantize_model(self.model)
            self.model.set_dtype(mx.float32)

    def generate(self, prompt: str | list[int], tokens: int) -> tuple[str, list[int]]:
        """Return greedy text and its ids."""
        responses = list(stream_generate(self.model, self.tokenizer, prompt, max_tokens=tokens))
        ids = [response.token for response in responses]
        if responses[-1].finish_reason == "stop":
            ids.pop()
        before = self.encode(prompt) if isinstance(prompt, str) else prompt
        return self.continuation(before, ids), ids

    def continuation(self, prompt: list[int], answer: list[int]) -> str:
        """Return what an answer adds to its decoded prompt, by two whole decodes of the library.

        Not mlx-lm's pieces, which lose the first space of an answer.
        """
        fast = self.tokenizer._tokenizer.backend_tokenizer
        before, whole = decode_kept(fast, prompt), decode_kept(fast, prompt + answer)
        assert whole.startswith(before), "the prompt ends within a character"
        return whole[len(before) :]

    def render(self, messages: Messages, **options: Any) -> str:
        """Render a conversation with transformers, without mlx-lm's own default for thinking."""
        # The plain tokenizer, since mlx-lm's wrapper puts `enable_thinking` in.
        plain = self.tokenizer._tokenizer
        text: str = plain.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **options
        )
        return text

    def encode(self, text: str) -> list[int]:
        """Return a raw prompt's ids, as `stream_generate` makes them."""
        bos = self.tokenizer.bos_token
        special = bos is None or not text.startswith(bos)
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=special)
        return ids

    def logits(self, ids: list[int]) -> np.ndarray[Any, Any]:
        """Return every position's logits by one forward pass over all, [L, V] in float64."""
        rows = self.model(mx.array(ids)[None], cache=make_prompt_cache(self.model))[0]
        return np.array(rows.astype(mx.float32)).astype(np.float64)

    def logprobs(self, ids: list[int]) -> np.ndarray[Any, Any]:
        """Return `logits` as natural log-probabilities."""
        rows = self.logits(ids)
        shifted = rows - rows.max(axis=-1, keepdims=True)
        normalised: np.ndarray[Any, Any] = shifted - np.log(
            np.exp(shifted).sum(axis=-1, keepdims=True)
        )
        return normalised
