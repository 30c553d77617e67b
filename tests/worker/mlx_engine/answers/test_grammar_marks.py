"""Marks of calls in grammars, for the vocabularies in which models have them."""

from __future__ import annotations

import pytest
from llguidance import LLMatcher
from tests.factories.tokenization import Marker, plain, special, train_qwen

from mlxwire_worker.mlx_engine.answers.form import grammar_mark
from mlxwire_worker.mlx_engine.constraints.vocabulary import Vocabulary
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from mlxwire_worker.output.tool_calls.family import Tool, Tools
from mlxwire_worker.output.tool_calls.hermes import Hermes

CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


@pytest.mark.parametrize(
    "marks",
    [special("<tool_call>", "</tool_call>"), plain("<tool_call>", "</tool_call>"), []],
    ids=["special", "plain", "text"],
)
def test_call_under_its_grammar(marks: list[Marker]) -> None:
    tokenizer = Tokenizer(train_qwen([*special("<|endoftext|>"), *marks]), {})
    vocabulary = Vocabulary(tokenizer, tokenizer.size, [])
    tools = Tools([Tool(name="now", parameters={})])
    grammar = Hermes().grammar(tools, grammar_mark(tokenizer), parallel=False)
    matcher = LLMatcher(vocabulary.tokens, LLMatcher.grammar_from_lark(grammar))
    for token in tokenizer.encode(CALL, add_special_tokens=False):
        mask = matcher.compute_bitmask()
        assert mask[token // 8] >> token % 8 & 1
        assert matcher.consume_token(token), matcher.get_error()
    assert matcher.is_accepting()
