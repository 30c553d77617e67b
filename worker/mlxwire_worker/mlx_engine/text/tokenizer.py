"""Converts text to token ids and back, with the library `tokenizers`.

`transformers` takes 0.67 s to import (docs/engine-notes.md §16). It is imported only for a folder
without a tokenizer.json, to convert the older files.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from mlxwire_protocol import WireError

from ...prompts import Detokenizer
from ...requests.admission import context_overflow
from ..models.model_files import failed, quoted, read_tokenizer_settings, unsupported
from .control_tokens import ControlTokens
from .declared_tokens import (
    SPECIAL_NAMES,
    add_declared_tokens,
    mend_mistral_pattern,
    merge_special_tokens,
    special_tokens,
)
from .detokenizers import detokenizer_of
from .fast_tokenizer import Located, encode_ids, encode_pair, locate, panics_as_errors
from .sentencepiece_model import corrected
from .token_bounds import TokenBound
from .token_texts import TokenTexts

MOST_IDS = 1 << 22
"""The most token ids accepted. Gemma 3 has 262,144."""
LONG_CHARACTERS = 1 << 20
"""Shorter texts are tokenized in less than a second."""


class Tokenizer:
    """The tokenizer of one model. Read-only after construction, so any thread may use it."""

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
        self._texts = TokenTexts(fast, self.size)

    @classmethod
    def from_folder(cls, path: Path) -> Tokenizer:
        """Read the tokenizer of a model folder.

        Raises: WireError ``model_load_failed`` or ``unsupported_model``.
        """
        config = merge_special_tokens(
            read_tokenizer_settings(path / "tokenizer_config.json"),
            read_tokenizer_settings(path / "special_tokens_map.json"),
        )
        older = read_tokenizer_settings(path / "added_tokens.json")
        file = path / "tokenizer.json"
        try:
            with panics_as_errors():
                fast = (
                    FastTokenizer.from_file(str(file))
                    if file.exists()
                    else _convert(path, config)
                )
                add_declared_tokens(fast, config, older)
                if file.exists():
                    mend_mistral_pattern(
                        fast, config, read_tokenizer_settings(path / "config.json")
                    )
                return cls(fast, config)
        except WireError:
            raise
        except Exception as error:
            own = file.exists()
            remedy = "copy tokenizer.json again from" if own else "add the tokenizer.json of"
            raise failed(
                "tokenizer",
                f"the tokenizer can't be read: {quoted(error)}; {remedy} the model's source",
                **({"file": file.name} if own else {}),
            ) from None

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of a text. Control tokens in the text become control tokens."""
        return encode_ids(self._fast, text, add_special_tokens=add_special_tokens)

    def locate(self, text: str) -> Located:
        """Return the token ids of a text as it is, and where each token ends in it."""
        return locate(self._fast, text)

    def encode_pair(self, first: str, second: str) -> tuple[list[int], list[int]]:
        """Return the token ids of two texts, as the tokenizer joins them, and the type of each."""
        return encode_pair(self._fast, first, second)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Encode a raw prompt as `mlx_lm.stream_generate` does: add BOS unless it begins with it."""
        bos = self.special_tokens.get("bos_token")
        return self.encode(prompt, add_special_tokens=bos is None or not prompt.startswith(bos))

    def encode_plain(self, text: str) -> list[int]:
        """Return the token ids of a text in which control tokens stay text, without BOS."""
        turn = {"role": "user", "content": text}
        marked = self.control_tokens.mark([turn], field="text")
        return self.control_tokens.encode(marked.messages[0]["content"], marked.mark)

    def at_least(self, text: str, enough: int) -> int:
        """Return a lower bound of a text's tokens without encoding it; 0 if none is known.

        The count stops soon after ``enough``.
        """
        return self._bound.at_least(text, enough) if self._bound is not None else 0

    def refuse_long(self, text: str, field: str, room: int, *, answered: bool = True) -> None:
        """Refuse a long text that can't fit the context, before it is tokenized.

        A text that is only read, and not ``answered``, may fill the context.

        Raises: WireError ``context_overflow``.
        """
        if len(text) < LONG_CHARACTERS:
            return
        most = room - answered
        least = self.at_least(text, most + 1)
        if least > most:
            raise context_overflow(field, least, room, answered=answered, at_least=True)

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

    def as_json(self) -> str:
        """Return the tokenizer as the text of a tokenizer.json."""
        text: str = self._fast.to_str()
        return text

    @property
    def pieces(self) -> dict[str, int]:
        """Return the id of each token by its piece: its text as the vocabulary writes it."""
        pieces: dict[str, int] = self._fast.get_vocab(with_added_tokens=True)
        return pieces

    @property
    def added_tokens(self) -> list[str]:
        """Return the text of each added token, control tokens among them."""
        return [token.content for token in self.added.values()]

    @property
    def added_ids(self) -> dict[str, int]:
        """Return the id of each added token, control tokens among them, by its text."""
        return {token.content: number for number, token in self.added.items()}

    @property
    def added(self) -> dict[int, AddedToken]:
        """Return the added tokens, control tokens among them, by their ids."""
        found: dict[int, AddedToken] = self._fast.get_added_tokens_decoder()
        return found

    def token_id(self, token: str) -> int | None:
        """Return the id of a token by its text, None if there is no such token."""
        found: int | None = self._fast.token_to_id(token)
        return found

    def text_of(self, token: int) -> str:
        """Return the text of one token within a text; an incomplete character becomes U+FFFD."""
        return self._texts.text_of(token)

    def detokenizer(self, prompt: Sequence[int]) -> Detokenizer:
        """Create a detokenizer for the answer to a prompt, given the prompt's ids."""
        return detokenizer_of(self._texts, prompt)

    def __len__(self) -> int:
        return self.size


def _convert(path: Path, config: dict[str, Any]) -> FastTokenizer:
    """Convert older tokenizer files with transformers, without network and without model code.

    Named special tokens that only the older files declare are added to ``config``. Raises:
    WireError ``unsupported_model``.
    """
    from transformers import AutoTokenizer

    try:
        slow = AutoTokenizer.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=False
        )
    except ImportError as error:  # tekken.json needs mistral-common, tiktoken.model tiktoken
        raise unsupported(
            "tokenizer",
            f"transformers can't convert the tokenizer without another package: {quoted(error)}. "
            "Use a model folder that has a tokenizer.json",
        ) from None
    backend = getattr(slow, "backend_tokenizer", None)
    if not isinstance(backend, FastTokenizer):
        raise unsupported(
            "tokenizer",
            "transformers can't convert the tokenizer to a tokenizer.json; use a model folder "
            "that has one",
        )
    for name in SPECIAL_NAMES:
        if name not in config and isinstance(token := getattr(slow, name, None), str):
            config[name] = token
    pieces = path / "tokenizer.model"
    if pieces.exists():
        return corrected(backend, pieces)
    return backend
