"""The switch for thinking is what changes the prompt, and thoughts are known by their marks."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from mlxwire_worker.mlx_engine.text.thinking import find_switch, knows_thoughts
from support.model_worker import Models, ModelWorker

USER = {"role": "user", "content": "x"}
TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
SEED = "{% if thinking_budget is defined and thinking_budget == 0 %}[no budget]{% endif %}"
MODE = "{% if thinking_mode is defined and thinking_mode == 'disabled' %}[off]{% endif %}"
EFFORT = "{% if reasoning_effort|default('high') == 'none' %}[off]{% endif %}"
FOLLOWED = "{% if loop.index0 and m.role == 'assistant' and not thinking %}[off]{% endif %}"


@pytest.mark.parametrize(
    ("template", "off"),
    [
        (TURNS + "{% if enable_thinking is false %}[off]{% endif %}", "enable_thinking"),
        (TURNS + "{% if thinking %}[on]{% endif %}", "thinking"),
        (TURNS + "{% if reasoning is false %}[off]{% endif %}", "reasoning"),
        (TURNS + "{% if skip_thinking %}[off]{% endif %}", "skip_thinking"),
        (TURNS + SEED, "thinking_budget"),
        (TURNS + MODE, "thinking_mode"),
        (TURNS + EFFORT, "reasoning_effort"),
        ("{% for m in messages %}{{ m.content }}" + FOLLOWED + "{% endfor %}", "thinking"),
        (
            "{% if messages[0].role == 'system' and enable_thinking %}[on]{% endif %}" + TURNS,
            "enable_thinking",
        ),
    ],
)
def test_a_switch_that_changes_the_prompt_is_found(
    helper: TemplateProcess, template: str, off: str
) -> None:
    switch = find_switch(template, {}, helper.render)

    assert switch is not None
    assert off in switch.off
    assert switch.variables(False) != switch.variables(True)


@pytest.mark.parametrize(
    "template",
    [
        TURNS,
        TURNS + "{# enable_thinking #}<think>",
        TURNS + "{% for m in messages %}{{ m.thinking }}{% endfor %}",
        TURNS + "Reasoning: {{ reasoning_effort | default('medium') }}",
        TURNS + "{% if enable_thinking %}{% endif %}",
        "{{ raise_exception('thinking') }}",
    ],
)
def test_a_word_that_changes_nothing_is_no_switch(
    helper: TemplateProcess, template: str
) -> None:
    assert find_switch(template, {}, helper.render) is None


@pytest.mark.parametrize(
    ("template", "vocabulary", "known"),
    [
        ("{{ '<think>' }}{{ '</think>' }}", [], True),
        ("", ["<think>", "</think>"], True),
        ("", ["<seed:think>", "</seed:think>"], True),
        ("", ["[THINK]", "[/THINK]"], True),
        ("", ["<|START_THINKING|>", "<|END_THINKING|>"], True),
        ("", ["<|think:start|>", "<|think:end|>"], True),
        ("", ["<|inner_prefix|>", "<|inner_suffix|>"], True),
        ("", ["<|channel>", "<channel|>"], True),
        ("{{ '<|channel|>analysis<|message|>' }}", ["<|channel|>"], True),
        ("", ["<|open|>", "<|close|>", "<|sep|>"], True),
        ("{{ 'think' }}{{ '<think>' }}", ["<|end|>"], False),
        ("", [], False),
    ],
)
def test_thoughts_are_known_by_a_pair_of_marks(
    template: str, vocabulary: list[str], known: bool
) -> None:
    assert knows_thoughts(template, vocabulary) is known


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize(
    ("command", "options"), [("chat", {"max_tokens": 1}), ("tokenize", {})]
)
def test_the_switch_is_refused_where_it_changes_nothing(
    worker: ModelWorker, models: Models, command: str, options: dict[str, Any], thinking: bool
) -> None:
    worker.use(models("deepseek-r1-qwen2"))
    assert worker.ask("info")["capabilities"]["thoughts"] is True
    error = worker.refusal(command, messages=[USER], thinking=thinking, **options)

    assert error["code"] == "unsupported_capability"
    assert error["data"] == {"missing": ["thinking"], "field": "thinking"}
