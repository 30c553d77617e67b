"""Converts text to token ids and back, with `tokenizers` and mlx-lm's streaming detokenizers.

`transformers` takes 0.67 s to import (docs/engine-notes.md §16). It is imported only for a folder
without a tokenizer.json, to convert the older files.
"""

from __future__ import annotations

import copy
import json
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as FastTokenizer

from mlxwire_protocol import WireError

from ...prompts import Detokenizer
from ..models.model_files import quoted
from .control_tokens import ControlTokens
from .declared_tokens import (
    add_declared_tokens,
    mend_mistral_pattern,
    merge_special_tokens,
    special_tokens,
)
from .fast_tokenizer import encode_ids, panics_as_errors
from .token_bounds import TokenBound

MOST_IDS = 1 << 22
"""The most token ids accepted: a detokenizer lists all ids, even unused ones. Gemma 3 has 262,144."""


class Tokenizer:
    """The tokenizer of one model. Read-only after construction, so any thread may use it.

    It has the methods of transformers' tokenizers that mlx-lm's detokenizers call.
    """

    def __init__(self, fast: FastTokenizer, config: dict[str, Any]) -> None:
        fast.no_padding()
        fast.no_truncation()
        self._fast = fast
        self.special_tokens = special_tokens(config)
        self.size = 1 + max(fast.get_vocab(with_added_tokens=True).values(), default=-1)
        if self.size > MOST_IDS:
            raise ValueError(
                f"it has a token with id {self.size - 1}; the largest accepted id is {MOST_IDS - 1}"
            )
        self._detokenizer_prototype = _detokenizer_class(fast)(self)

    @classmethod
    def from_folder(cls, path: Path) -> Tokenizer:
        """Read the tokenizer of a model folder.

        Raises: WireError ``model_load_failed`` or ``unsupported_model``.
        """
        config = merge_special_tokens(
            _read_json(path / "tokenizer_config.json"),
            _read_json(path / "special_tokens_map.json"),
        )
        older = _read_json(path / "added_tokens.json")
        file = path / "tokenizer.json"
        try:
            with panics_as_errors():
                fast = FastTokenizer.from_file(str(file)) if file.exists() else _convert(path)
                if file.exists():
                    add_declared_tokens(fast, config, older)
                    mend_mistral_pattern(fast, config, _read_json(path / "config.json"))
                return cls(fast, config)
        except WireError:
            raise
        except Exception as error:
            raise WireError(
                "model_load_failed",
                f"the tokenizer can't be read: {quoted(error)}. Copy tokenizer.json again from the "
                "model's source",
                data={"reason": "tokenizer", "file": file.name},
            ) from None

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text. Control tokens in the text become control tokens."""
        return encode_ids(self._fast, text, add_special_tokens=add_special_tokens)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Encode a raw prompt as `mlx_lm.stream_generate` does: add BOS unless it begins with it."""
        bos = self.special_tokens.get("bos_token")
        return self.encode(prompt, add_special_tokens=bos is None or not prompt.startswith(bos))

    def encode_plain(self, text: str) -> list[int]:
        """Return the token ids of a text in which control tokens stay text, without BOS."""
        mark, (message,) = self.control_tokens.mark([{"role": "user", "content": text}], "text")
        return self.control_tokens.encode(message["content"], mark)

    def at_least(self, text: str, enough: int) -> int:
        """Return a lower bound of a text's tokens without encoding it; 0 if none is known.

        The count stops soon after ``enough``.
        """
        return self._bound.at_least(text, enough) if self._bound is not None else 0

    @cached_property
    def _bound(self) -> TokenBound | None:
        return TokenBound.of(self._fast)

    @cached_property
    def control_tokens(self) -> ControlTokens:
        """Return the control tokens, which the text of a chat message must not become."""
        return ControlTokens(self._fast)

    def decode(self, ids: list[int]) -> str:
        """Return the text of token ids, control tokens included."""
        with panics_as_errors():
            text: str = self._fast.decode(ids, skip_special_tokens=False)
        return text

    def token_id(self, token: str) -> int | None:
        """Return the id of a token by its text, None if there is no such token."""
        found: int | None = self._fast.token_to_id(token)
        return found

    def detokenizer(self) -> SafeDetokenizer:
        """Create a detokenizer for one sequence."""
        return SafeDetokenizer(self, self._detokenizer_prototype)

    def __len__(self) -> int:
        return self.size

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """Return the tokens of ids; an unused id gives an empty string."""
        return [self._fast.id_to_token(token_id) or "" for token_id in ids]


KEPT_CHARACTERS = 256
"""Characters of returned text after which a detokenizer forgets them."""


class SafeDetokenizer(Detokenizer):
    """A streaming detokenizer of mlx-lm that returns no text where mlx-lm's would raise.

    mlx-lm's raises on ids outside the vocabulary (IndexError) and, at the end of a text, on
    characters outside its byte table (KeyError), docs/engine-notes.md §8. One odd token must not
    fail a request.
    """

    __slots__ = ("_inner", "_tokenizer")

    def __init__(self, tokenizer: Tokenizer, prototype: Any) -> None:
        self._tokenizer = tokenizer
        self._inner = copy.copy(prototype)
        self._inner.reset()

    def add_token(self, token: int) -> str:
        """Add a token and return the text that it completes, which may be empty."""
        inner = self._inner
        try:
            inner.add_token(token)
        except (IndexError, KeyError, TypeError, OverflowError):
            return ""
        segment: str = inner.last_segment
        if inner.offset > KEPT_CHARACTERS:
            _forget_sent(inner)
        return segment

    def text_of(self, token: int) -> str:
        """Return the text of one token by itself; an incomplete character becomes U+FFFD."""
        return self._tokenizer.decode([token])

    def finalize(self) -> str:
        """Return the text that was held back; an incomplete character becomes U+FFFD."""
        inner = self._inner
        try:
            inner.finalize()
        except KeyError:
            inner.text += inner._decode_bytes(inner._unflushed)
        segment: str = inner.last_segment
        return segment


def _forget_sent(inner: Any) -> None:
    """Drop the returned text from a detokenizer.

    mlx-lm copies all of the text for each token. A block of more than 1 KB makes malloc merge the
    blocks that MLX has freed: 70 µs per token on a CPU with a tiny model.
    """
    if hasattr(inner, "_text"):  # NaiveStreamingDetokenizer computes `text` from `_text`
        inner.offset -= len(inner._text)
        inner._text = ""
    else:
        inner.text = inner.text[-1:]  # never empty: mlx-lm would trim the next space
        inner.offset = len(inner.text)


def _detokenizer_class(fast: FastTokenizer) -> Any:
    """Choose the detokenizer as `mlx_lm.tokenizer_utils.load` does, by the decoder's type."""
    from mlx_lm import tokenizer_utils as theirs

    decoder = json.loads(fast.to_str()).get("decoder")
    if theirs._is_spm_decoder(decoder):
        return theirs.SPMStreamingDetokenizer
    if theirs._is_spm_decoder_no_space(decoder):
        return partial(theirs.SPMStreamingDetokenizer, trim_space=False)
    if theirs._is_bpe_decoder(decoder):
        return theirs.BPEStreamingDetokenizer
    return theirs.NaiveStreamingDetokenizer


def _convert(path: Path) -> FastTokenizer:
    """Convert older tokenizer files with transformers, without network and without model code.

    Raises: WireError ``unsupported_model``.
    """
    from transformers import AutoTokenizer

    slow = AutoTokenizer.from_pretrained(
        str(path), local_files_only=True, trust_remote_code=False
    )
    backend = getattr(slow, "backend_tokenizer", None)
    if not isinstance(backend, FastTokenizer):
        raise WireError(
            "unsupported_model",
            "transformers can't convert the tokenizer to a tokenizer.json; use a model folder "
            "that has one",
            data={"reason": "tokenizer"},
        )
    return backend


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WireError(
            "model_load_failed",
            f"{path.name} can't be read: {error}; copy it again from the model's source",
            data={"reason": "tokenizer", "file": path.name},
        ) from None
    return value if isinstance(value, dict) else {}
