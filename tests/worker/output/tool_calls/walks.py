"""Writes answers at random under a grammar of calls, token by token."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal

from llguidance import LLMatcher, LLTokenizer
from tests.factories.tokenization import plain, special, train_qwen
from tokenizers import Tokenizer

from mlxwire_worker.mlx_engine.answers.form import grammar_mark
from mlxwire_worker.mlx_engine.constraints.vocabulary import Vocabulary
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer as WorkerTokenizer
from mlxwire_worker.output.tool_calls.family import Mark

_EOS = "<|endoftext|>"
_MOST_TOKENS = 1500
_CLOSING = ('"', "}", "]", '"}', '"}}', "]}", "}}", "\n", "/")

Grammar = Callable[[Mark], str]
Kind = Literal["special", "plain", "text"]
"""The kind of a vocabulary's marks: special tokens, plain added tokens, or text only."""


@lru_cache
def _tokenizer(marks: tuple[str, ...], kind: Kind) -> tuple[Tokenizer, LLTokenizer]:
    added = {"special": special(*marks), "plain": plain(*marks), "text": []}
    tokenizer = train_qwen([*special(_EOS), *added[kind]])
    vocabulary = Vocabulary(
        WorkerTokenizer(tokenizer, {}),
        tokenizer.get_vocab_size(),
        [tokenizer.token_to_id(_EOS)],
    )
    return tokenizer, vocabulary.tokens


def random_answers(
    grammar: Grammar, marks: Iterable[str], kind: Kind, number: int = 12
) -> list[str]:
    """Return texts that a model with these marks could write under a grammar, from end to end."""
    marks = tuple(marks)
    tokenizer, tokens = _tokenizer(marks, kind)
    lark = grammar(grammar_mark(WorkerTokenizer(tokenizer, {})))
    assert not (
        problem := LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(lark), tokens)
    ), (
        problem,
        lark,
    )
    closing = {tokenizer.token_to_id(text) for text in (*_CLOSING, *marks, _EOS)}
    return [
        _walk(lark, tokens, closing, tokenizer, random.Random(seed)) for seed in range(number)
    ]


def accepts(grammar: Grammar, marks: Iterable[str], kind: Kind, text: str) -> bool:
    """Return True if a grammar accepts a whole text."""
    tokenizer, tokens = _tokenizer(tuple(marks), kind)
    lark = grammar(grammar_mark(WorkerTokenizer(tokenizer, {})))
    matcher = LLMatcher(tokens, LLMatcher.grammar_from_lark(lark))
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def _walk(
    lark: str,
    tokens: LLTokenizer,
    closing: set[int],
    tokenizer: Tokenizer,
    chance: random.Random,
) -> str:
    matcher = LLMatcher(tokens, LLMatcher.grammar_from_lark(lark))
    ids: list[int] = []
    while not matcher.is_stopped():
        mask = matcher.compute_bitmask()
        allowed = [at for at in range(tokens.vocab_size) if mask[at // 8] >> at % 8 & 1]
        short = [at for at in allowed if at in closing]
        if short and (chance.random() < 0.4 or len(ids) > 100):
            allowed = short
        ids.append(chance.choice(allowed))
        assert matcher.consume_token(ids[-1]), matcher.get_error()
        assert len(ids) < _MOST_TOKENS, tokenizer.decode(ids, skip_special_tokens=False)
    if ids[-1] == tokens.eos_token:
        ids.pop()
    return tokenizer.decode(ids, skip_special_tokens=False)
