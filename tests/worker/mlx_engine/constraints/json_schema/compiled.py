"""Compiles a schema as a request does, with the tiny model's vocabulary, and tries texts on it."""

from __future__ import annotations

from typing import Any

import msgspec
from llguidance import LLMatcher

from mlxwire_protocol.formats import ResponseFormat
from mlxwire_worker.mlx_engine.constraints.grammars import compile_grammar
from mlxwire_worker.mlx_engine.constraints.vocabulary import Vocabulary
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from support.tiny_model import TINY

TOKENIZER = Tokenizer.from_folder(TINY)


def matcher(vocabulary: Vocabulary, schema: Any, *, strict: bool = True) -> LLMatcher:
    """Compile a schema."""
    shape = {"type": "json_schema", "json_schema": {"schema": schema, "strict": strict}}
    return compile_grammar(msgspec.convert(shape, ResponseFormat), vocabulary)


def accepts(vocabulary: Vocabulary, schema: Any, text: str, *, strict: bool = True) -> bool:
    """Return True if a text is whole under the grammar of a schema."""
    compiled = matcher(vocabulary, schema, strict=strict)
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    return compiled.try_consume_tokens(ids) == len(ids) and compiled.is_accepting()


def begins(vocabulary: Vocabulary, schema: Any, text: str, *, strict: bool = True) -> bool:
    """Return True if a text may be the beginning of a longer one."""
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    taken: int = matcher(vocabulary, schema, strict=strict).try_consume_tokens(ids)
    return taken == len(ids)
