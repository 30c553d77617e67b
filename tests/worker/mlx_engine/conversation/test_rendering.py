"""Conversations with tools are rendered as by transformers, and no part of one is lost."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from factories.templates import QWEN2
from factories.tool_templates import TOOL_TEMPLATES
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from support.template_helper import helper
from support.tool_chats import (
    ADD,
    SPECIAL,
    TOKENS,
    WEATHER,
    Rendering,
    asked,
    call,
    called,
    result,
    tokenizer_of,
    user,
)

__all__ = ["helper"]

TOKENIZER = tokenizer_of(TOKENS)
COLOGNE = {"city": "Köln", "n": [1, 2.5, None, True], "deep": {"a b": "'x' \"y\""}}
TEXT = "Let me see."
ONE = [user("w?"), called(call("get_weather", COLOGNE)), result("20", name="get_weather")]
BESIDE = [
    user("w?"),
    called(call("get_weather", {"city": "Rome"}), content=TEXT),
    result("20", name="get_weather"),
]
LATER = [*ONE, {"role": "assistant", "content": "It is 20."}, user("and now?")]
CONVERSATIONS = {"first": [user("w?")], "one": ONE, "beside": BESIDE, "later": LATER}


@pytest.fixture(params=TOOL_TEMPLATES)
def rendering(request: Any, helper: TemplateProcess) -> Rendering:
    return Rendering(helper, TOOL_TEMPLATES[request.param], TOKENIZER)


def theirs(
    rendering: Rendering, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
) -> str:
    """Return the render of transformers, of the same forms as the probe has found."""
    turns, forms = copy.deepcopy(messages), rendering.forms
    for turn in turns:
        for one in turn.get("tool_calls", []):
            if forms.arguments_as_text:
                arguments = one["function"]["arguments"]
                one["function"]["arguments"] = json.dumps(arguments, ensure_ascii=False)
        if "tool_calls" in turn and not turn["content"]:
            turn["content"] = forms.empty_content
    rendered, _ = render_jinja_template(
        [turns],
        tools=tools,
        chat_template=rendering.template,
        add_generation_prompt=True,
        **SPECIAL,
    )
    return str(rendered[0])


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_a_conversation_renders_as_with_transformers(
    rendering: Rendering, conversation: str
) -> None:
    messages, tools = CONVERSATIONS[conversation], [WEATHER, ADD]
    if conversation == "beside" and rendering.forms.text_beside_calls == "apart":
        turn = messages[1]
        apart = [{"role": "assistant", "content": TEXT}, {**turn, "content": None}]
        expected = [messages[0], *apart, *messages[2:]]
    else:
        expected = messages

    assert rendering.text(asked(messages, tools)) == theirs(rendering, expected, tools)


def test_arguments_as_text_and_as_an_object_render_alike(rendering: Rendering) -> None:
    written = json.dumps(COLOGNE, ensure_ascii=False)
    as_text = [user("w?"), called(call("get_weather", written)), *ONE[2:]]

    assert rendering.ids(asked(as_text, [WEATHER])) == rendering.ids(asked(ONE, [WEATHER]))


@pytest.mark.parametrize("content", ["", None, []])
def test_an_empty_content_beside_calls_is_null(rendering: Rendering, content: Any) -> None:
    turns = [user("w?"), {**ONE[1], "content": content}, ONE[2]]
    left_out = [user("w?"), {"role": "assistant", "tool_calls": ONE[1]["tool_calls"]}, ONE[2]]

    assert rendering.ids(asked(turns, [WEATHER])) == rendering.ids(asked(left_out, [WEATHER]))


def test_two_calls_of_one_turn_and_their_results_are_all_rendered(rendering: Rendering) -> None:
    calls = [call("get_weather", {"city": "Ulm"}), call("add", {"a": 7.25}, "abcdefgh2")]
    turns = [user("w?"), called(*calls), result("97 degrees", "abcdefgh2"), result("64 words")]

    text = rendering.text(asked(turns, [WEATHER, ADD]))

    assert all(part in text for part in ("Ulm", "7.25", "97 degrees", "64 words"))
    if rendering.forms.several_calls == "apart":
        places = [text.index(part) for part in ("Ulm", "64 words", "7.25", "97 degrees")]
        assert places == sorted(places)


def test_parts_of_a_content_are_joined(rendering: Rendering) -> None:
    parts = [{"type": "text", "text": "w"}, {"type": "text", "text": "?"}]

    assert rendering.ids(asked([user(parts)], [WEATHER])) == rendering.ids(  # type: ignore[arg-type]
        asked([user("w?")], [WEATHER])
    )


def test_a_result_has_the_name_of_the_tool_that_was_called(rendering: Rendering) -> None:
    unnamed = [*ONE[:2], result("20")]

    assert rendering.ids(asked(unnamed, [WEATHER])) == rendering.ids(asked(ONE, [WEATHER]))


def test_thoughts_and_text_beside_a_call_are_not_refused(rendering: Rendering) -> None:
    turns = [*BESIDE]
    turns[1] = {**turns[1], "reasoning_content": "I should look."}

    text = rendering.text(asked(turns, [WEATHER]))

    assert "Rome" in text
    if rendering.forms.thoughts_or_text:
        assert f"I should look.\n\n{TEXT}" in text


@pytest.mark.parametrize(
    ("family", "thoughts"), [("gpt-oss", ("thinking",)), ("glm", ("reasoning_content",))]
)
def test_thoughts_reach_the_template_under_its_own_name(
    helper: TemplateProcess, family: str, thoughts: tuple[str, ...]
) -> None:
    rendering = Rendering(helper, TOOL_TEMPLATES[family], TOKENIZER)
    turns = [ONE[0], {**ONE[1], "reasoning_content": "I should look."}, ONE[2]]

    assert rendering.forms.thoughts == thoughts
    assert "I should look." in rendering.text(asked(turns, [WEATHER]))


@pytest.mark.parametrize(
    ("family", "forms"),
    [
        ("deepseek-v3", {"arguments_as_text": True, "empty_content": None}),
        ("hermes", {"arguments_as_text": False, "empty_content": ""}),
        ("llama3", {"several_calls": "apart"}),
        ("gpt-oss", {"several_calls": "apart", "thoughts_or_text": True}),
        ("mistral", {"several_calls": "together", "arguments_as_text": False}),
    ],
)
def test_the_probe_finds_the_forms_of_a_family(
    helper: TemplateProcess, family: str, forms: dict[str, Any]
) -> None:
    found = Rendering(helper, TOOL_TEMPLATES[family], TOKENIZER).forms._asdict()

    assert {name: found[name] for name in forms} == forms


def test_the_text_of_arguments_stays_as_the_host_wrote_it(helper: TemplateProcess) -> None:
    rendering = Rendering(helper, TOOL_TEMPLATES["deepseek-v3"], TOKENIZER)
    turns = [user("w?"), called(call("get_weather", '{"city" :"Ulm"}')), result("20")]

    assert '{"city" :"Ulm"}' in rendering.text(asked(turns, [WEATHER]))


@pytest.mark.parametrize("number", [2**70, -(2**64), 1e-7])
def test_numbers_of_any_size_reach_the_template(helper: TemplateProcess, number: float) -> None:
    rendering = Rendering(helper, TOOL_TEMPLATES["hermes"], TOKENIZER)
    turns = [user("w?"), called(call("get_weather", {"n": number})), result("20")]
    bounded = [
        {**WEATHER, "function": {**WEATHER["function"], "parameters": {"maximum": number}}}
    ]

    assert rendering.text(asked(turns, bounded)).count(json.dumps(number)) == 2


# -- templates that drop something -----------------------------------------------------------

DROPS_RESULTS = QWEN2.replace(
    "{% for message in messages %}",
    "{% for message in messages if message['role'] != 'tool' %}",
)
DROPS_CALLS = "{{ tools | tojson if tools }}" + QWEN2
ONLY_IN_SYSTEM = (
    "{% for m in messages %}{{ m.role + ':' + m.content }}"
    "{{ tools | tojson if tools and m.role == 'system' }}{% endfor %}"
)


def test_a_template_that_ignores_tools_has_no_forms_of_them(helper: TemplateProcess) -> None:
    for template in (QWEN2, QWEN2 + "{# tools #}", QWEN2 + "{{ 'yes' if tools }}"):
        assert Rendering(helper, template, TOKENIZER).found.tools is None


@pytest.mark.parametrize(
    ("template", "messages", "field"),
    [
        (
            DROPS_RESULTS,
            [user("a"), {"role": "assistant", "content": "b"}, result("c", None)],
            "messages[2].role",
        ),
        (QWEN2, ONE, "messages[1].tool_calls"),
        (DROPS_CALLS, ONE, "messages[1].tool_calls"),
    ],
)
def test_a_turn_that_the_template_would_drop_is_refused_by_name(
    helper: TemplateProcess, template: str, messages: list[dict[str, Any]], field: str
) -> None:
    rendering = Rendering(helper, template, TOKENIZER)
    with pytest.raises(WireError) as refused:
        rendering.ids(asked(messages))

    assert refused.value.code == "unsupported_capability"
    assert refused.value.data == {"missing": ["tools"], "field": field}


def test_a_role_that_the_template_refuses_has_the_templates_own_words(
    helper: TemplateProcess,
) -> None:
    rendering = Rendering(helper, TOOL_TEMPLATES["gpt-oss"], TOKENIZER)
    with pytest.raises(WireError, match="no previous assistant message with a tool call"):
        rendering.ids(asked([user("a"), result("20", None)], [WEATHER]))


def test_tools_that_need_a_system_turn_get_an_empty_one(helper: TemplateProcess) -> None:
    rendering = Rendering(helper, ONLY_IN_SYSTEM, TOKENIZER)
    system = {"role": "system", "content": ""}

    assert rendering.text(asked([user("a")], [WEATHER])) == rendering.text(
        asked([system, user("a")], [WEATHER])
    )
    assert "system" not in rendering.text(asked([user("a")]))


def test_a_tool_that_the_template_leaves_out_is_refused_by_name(
    helper: TemplateProcess,
) -> None:
    template = QWEN2 + "{{ tools[0] | tojson if tools }}"
    rendering = Rendering(helper, template, TOKENIZER)
    with pytest.raises(WireError) as refused:
        rendering.ids(asked([user("a")], [WEATHER, ADD]))

    assert refused.value.data["field"] == "tools[1]"


@pytest.mark.parametrize("parameters", [{"type": "object"}, {"anyOf": [{"required": ["a"]}]}])
def test_a_template_that_reads_properties_gets_them(
    rendering: Rendering, parameters: dict[str, Any]
) -> None:
    bare = {"type": "function", "function": {"name": "get_it", "parameters": parameters}}
    assert "get_it" in rendering.text(asked([user("w?")], [bare]))
