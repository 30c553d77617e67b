"""mlx-lm's parsers, behind a guard."""

from __future__ import annotations

from typing import Any

import pytest
from tests.factories.tokenization import special, train_qwen
from tests.worker.output.tool_calls.tagged import decoded, failure

from mlxwire_worker.mlx_engine.answers.foreign_calls import ForeignCalls, foreign_family
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer


def test_a_parser_of_mlx_lm_is_used() -> None:
    family = ForeignCalls.named("longcat")
    text = (
        "<longcat_tool_call>weather\n<longcat_arg_key>city</longcat_arg_key>\n"
        "<longcat_arg_value>Bern</longcat_arg_value>\n</longcat_tool_call>"
    )
    assert decoded(family, f"So. {text} bye") == ["So.", ("weather", {"city": "Bern"}), "bye"]
    assert failure(family, text[:-3]).cut_off
    assert failure(family, "<longcat_tool_call>hello</longcat_tool_call>").text


@pytest.mark.parametrize(
    ("template", "tokens", "opening"),
    [
        ("{{ '<longcat_tool_call>' }}", [], "<longcat_tool_call>"),
        ("", ["<|tool_call_start|>", "<|tool_call_end|>"], "<|tool_call_start|>"),
    ],
)
def test_the_parser_that_mlx_lm_would_choose_is_found(
    template: str, tokens: list[str], opening: str
) -> None:
    family = foreign_family(template, Tokenizer(train_qwen(special(*tokens)), {}))

    assert family is not None
    assert family.openings == (opening,)


def test_a_model_that_mlx_lm_does_not_know_has_no_family() -> None:
    assert foreign_family("{{ tools }}", Tokenizer(train_qwen([]), {})) is None


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        "now",
        {"name": 5},
        {"name": "fly"},
        {"name": "now", "arguments": [1]},
        {"name": "now", "arguments": "{"},
        {"name": "now", "arguments": {"a": float("nan")}},
        [{"name": "now", "arguments": {}}, {"arguments": {}}],
    ],
)
def test_what_is_no_call_is_told_whole(found: Any) -> None:
    family = ForeignCalls("<c>", "</c>", lambda text, tools: found)
    assert failure(family, "<c>x</c>").text == "<c>x</c>"


def test_lists_and_text_arguments_are_taken() -> None:
    found = [{"name": "now", "arguments": '{"a": 1}'}, {"name": "now"}]
    family = ForeignCalls("<c>", "</c>", lambda text, tools: found)
    assert decoded(family, "<c>x</c>") == [("now", {"a": 1}), ("now", {})]
