"""The switch for thinking is what changes the prompt, and thoughts are known by their marks."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from mlxwire_worker.mlx_engine.text.thinking import find_marks, find_switch, writes_channels
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
    ("template", "vocabulary", "marks"),
    [
        ("{{ '<think>' }}{{ '</think>' }}", [], ("<think>", "</think>")),
        ("", ["<think>", "</think>"], ("<think>", "</think>")),
        ("", ["<seed:think>", "</seed:think>"], ("<seed:think>", "</seed:think>")),
        ("", ["[THINK]", "[/THINK]"], ("[THINK]", "[/THINK]")),
        (
            "",
            ["<|START_THINKING|>", "<|END_THINKING|>"],
            ("<|START_THINKING|>", "<|END_THINKING|>"),
        ),
        ("", ["<|think:start|>", "<|think:end|>"], ("<|think:start|>", "<|think:end|>")),
        (
            "",
            ["<|inner_prefix|>", "<|inner_suffix|>"],
            ("<|inner_prefix|>", "<|inner_suffix|>"),
        ),
        ("", ["<|channel>", "<channel|>"], ("<|channel>thought", "<channel|>")),
        (
            "",
            ["<|open|>", "<|close|>", "<|sep|>"],
            ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
        ),
        (
            "{{ '<reasoning>' }}{{ '</reasoning>' }}{{ '<think>' }}{{ '</think>' }}",
            ["<think>", "</think>"],
            ("<think>", "</think>"),
        ),
        ("{{ 'think' }}{{ '<think>' }}", ["<|end|>"], None),
        ("{{ '<|channel|>analysis<|message|>' }}", ["<|channel|>"], None),
        ("", [], None),
    ],
)
def test_the_marks_of_thoughts_are_found(
    template: str, vocabulary: list[str], marks: tuple[str, str] | None
) -> None:
    assert find_marks(template, vocabulary) == marks


@pytest.mark.parametrize(
    ("template", "writes"),
    [("{{ '<|channel|>analysis<|message|>' }}", True), ("{{ 'analysis' }}", False)],
)
def test_channels_are_known_by_the_template(template: str, writes: bool) -> None:
    assert writes_channels(template, []) is writes


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
