"""Families of tool calls are recognised by what templates and vocabularies hold."""

from __future__ import annotations

import pytest

from mlxwire_worker.output.tool_calls.registry import find_family

_LLAMA = (
    '<|start_header_id|>{% if tools %}{"name": function, "parameters": arguments}{% endif %}'
)
_SECTION = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ('{% if tools %}<tool_call>\\n{"name": "{{ call.name }}", "arguments"', "hermes"),
        ('<tool_call>\\n{\\"name\\": <function-name>', "hermes"),
        ("<tool_call>\\n<function=example>\\n<parameter=one>", "qwen3-coder"),
        ("<tool_call>\n<function=example>\n<parameter=one>", "qwen3-coder"),
        ("<tool_call>{name}\n<arg_key>{key}</arg_key>\n<arg_value>", "glm"),
        ("<tool_call>{name}<arg_key>{key}</arg_key><arg_value>", "glm"),
        ("<minimax:tool_call>\n<invoke name=", "minimax"),
        ('<tool_calls>\n{\\"name\\": <tool-name-1>, \\"arguments\\":', "minimax-m1"),
        ("{{- '<tool_calls>[' }}{{- '{\"name\": \"' + call.name }}", "minimax-m1"),
        ("{% set dsml_token = '｜DSML｜' %}", "dsml"),
        ("<|tool_call>call:{{ name }}<tool_call|>", "gemma"),
        ("<start_function_call>call:", "gemma"),
        ("<|tool_calls_section_begin|><|tool_call_begin|>", "kimi"),
        (_SECTION, "deepseek"),
        ("[TOOL_CALLS] [", "mistral"),
        ("[TOOL_CALLS]name[ARGS]", "mistral"),
        (_LLAMA, "llama3"),
    ],
)
def test_templates_tell_the_family(template: str, name: str) -> None:
    family = find_family(template, ())
    assert family is not None
    assert family.name == name


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{{ messages }}",
        "<|start_header_id|>user",
        "{% if tools %}{{ tools }}{% endif %}",
        "<tool_call>{{ call }}</tool_call>",
        "<|tool_call_start|>[f(x=1)]<|tool_call_end|>{{ tools }}",
        "<|tool_call|>{{ tools }}",
        "<tool_calls>{{ tools }}",
        "<|START_ACTION|>{{ tools }}",
        "<|channel|>commentary{{ tools }}",
    ],
)
def test_other_templates_have_no_family(template: str) -> None:
    assert find_family(template, ()) is None


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("｜DSML｜", "dsml"),
        ("<minimax:tool_call>", "minimax"),
        ("<|tool_calls_section_begin|>", "kimi"),
        ("<start_function_call>", "gemma"),
    ],
)
def test_tokens_tell_where_a_template_does_not(token: str, name: str) -> None:
    family = find_family("{{ tools }}", {token})
    assert family is not None
    assert family.name == name
    assert find_family("{{ messages }}", {token}) is None


def test_tokens_that_several_families_have_tell_nothing() -> None:
    assert find_family("{{ tools }}", {"<tool_call>", "</tool_call>"}) is None
