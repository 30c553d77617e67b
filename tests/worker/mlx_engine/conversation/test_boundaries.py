"""The text of a conversation is divided where each message ends, whatever the template does to it."""

from __future__ import annotations

from itertools import count, pairwise
from typing import Any

import pytest

from factories import templates
from factories.tool_templates import TOOL_TEMPLATES
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.conversation import boundaries
from mlxwire_worker.mlx_engine.conversation.boundaries import Boundaries
from mlxwire_worker.mlx_engine.conversation.known_boundaries import MOST_SOUGHT, KnownBoundaries
from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from support.template_helper import helper

__all__ = ["helper"]

SYSTEM = {"role": "system", "content": "Be brief."}
CHAT: list[dict[str, Any]] = [
    SYSTEM,
    {"role": "user", "content": "How are you?"},
    {"role": "assistant", "content": "Fine.", "reasoning_content": "They ask."},
    {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "Still fine.", "reasoning_content": "Again."},
    {"role": "user", "content": "Good."},
]
SYSTEM_LAST = (
    "{{ bos_token }}{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}"
    "{% endif %}{% for m in turns %}{% if m.role == 'user' %}"
    "[INST] {% if loop.last and system %}{{ system }}\n\n{% endif %}{{ m.content }}[/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
"""Writes the system's turn before the last question, as Mistral's."""
HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final"
    "{% endif %}<|message|>{{ m.content }}"
    "{% if loop.last and m.role == 'assistant' and not add_generation_prompt %}<|return|>"
    "{% else %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
"""Ends the last answer otherwise than earlier ones, as gpt-oss's."""
ONLY_WITH_USER = (
    "{% if messages | selectattr('role', 'equalto', 'user') | list | length == 0 %}"
    "{{ raise_exception('no user') }}{% endif %}" + templates.QWEN2
)


def variables(messages: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "messages": messages,
        "tools": None,
        "add_generation_prompt": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        **more,
    }


def found(
    helper: TemplateProcess, template: str, messages: list[dict[str, Any]], **more: Any
) -> tuple[list[str], Boundaries]:
    """Return the part of the text that each message has, and at last what asks for the answer."""
    given = variables(messages, **more)
    text = helper.render(template, given)
    told = helper.boundaries(template, given, text, list(range(1, len(messages) + 1)))
    assert None not in told.ends
    places = [0, *(end or 0 for end in told.ends), len(text)]
    return [text[start:end] for start, end in pairwise(places)], told


@pytest.mark.parametrize(
    "template",
    [
        templates.QWEN2,
        templates.QWEN3,
        templates.LLAMA3,
        templates.GEMMA3,
        templates.DEEPSEEK_R1,
        templates.GEMMA4,
        templates.GPT_OSS,
        templates.SEED_OSS,
        *(TOOL_TEMPLATES[name] for name in TOOL_TEMPLATES if name != "mistral"),
        HARMONY,
        ONLY_WITH_USER,
    ],
)
def test_each_part_has_the_message_s_own_text(helper: TemplateProcess, template: str) -> None:
    parts, _ = found(helper, template, CHAT)

    assert len(parts) == len(CHAT) + 1
    for place, part in enumerate(parts):
        for other, message in enumerate(CHAT):
            assert (message["content"] in part) == (place == other), (place, part)


def test_dropped_thoughts_and_headers_are_where_a_reader_looks_for_them(
    helper: TemplateProcess,
) -> None:
    parts, told = found(helper, templates.QWEN3, CHAT)
    assert parts[2] == "<|im_start|>assistant\nFine.<|im_end|>\n"
    assert parts[-1] == "<|im_start|>assistant\n"
    assert told.opens

    parts, told = found(helper, templates.QWEN3, CHAT, enable_thinking=False)
    assert parts[-1] == "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert not told.opens  # the next turn's text has no empty thought there


def test_a_last_answer_whose_thoughts_are_dropped_is_no_part_of_what_asks(
    helper: TemplateProcess,
) -> None:
    parts, _ = found(helper, templates.QWEN3, CHAT[:-1])
    assert parts[-2].endswith("Still fine.<|im_end|>\n")
    assert parts[-1] == "<|im_start|>assistant\n"

    parts, _ = found(helper, HARMONY, CHAT[:-1])
    assert "Still fine." in parts[-2]
    assert parts[-1].endswith("<|start|>assistant")


def test_what_moves_to_the_last_question_is_shared_by_no_later_turn(
    helper: TemplateProcess,
) -> None:
    parts, told = found(helper, SYSTEM_LAST, CHAT)

    assert parts[-2] == "[INST] Be brief.\n\nGood.[/INST]"
    assert parts[1:3] == ["How are you?[/INST]", " Fine.</s>"]
    assert not told.opens


def test_answers_that_end_differently_at_the_end_are_found(helper: TemplateProcess) -> None:
    parts, _ = found(helper, HARMONY, CHAT)
    # What comes between the answer and the next text is the same for each next question.
    assert parts[2].startswith("<|start|>assistant<|channel|>final<|message|>Fine.<|end|>")


def test_a_slow_template_is_asked_for_the_last_ends_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = count(step=boundaries.SECONDS / 4)
    monkeypatch.setattr(boundaries, "monotonic", lambda: next(clock))
    turns = chat(*"abcdefgh")

    def render(turns: list[dict[str, Any]], _: bool) -> str:
        return text_of(turns)

    told = boundaries.find_boundaries(
        text_of(turns), turns, list(range(1, 9)), asks=True, render=render
    )

    assert told.ends == [1, *[None] * 5, 7, 8]


class Finder:
    """Tells where turns end in a text that is their contents, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.error: WireError | None = None

    def __call__(
        self, template: str, variables: dict[str, Any], text: str, counts: list[int]
    ) -> Boundaries:
        self.asked.append(counts)
        if self.error is not None:
            raise self.error
        turns = variables["messages"]
        ends = [len(text_of(turns[:size])) for size in counts]
        return Boundaries([*ends], opens=True)


def text_of(turns: list[dict[str, Any]]) -> str:
    return "".join(turn["content"] for turn in turns)


def chat(*contents: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content} for content in contents]


def told(known: KnownBoundaries, turns: list[dict[str, Any]], **more: Any) -> list[int | None]:
    counts = list(range(1, len(turns) + 1))
    return known("t", variables(turns, **more), text_of(turns), counts).ends


def test_the_next_turn_looks_for_the_new_ends_alone() -> None:
    finder = Finder()
    known = KnownBoundaries(finder)

    assert told(known, chat("a", "bb")) == [1, 3]
    assert told(known, chat("a", "bb", "c", "d")) == [1, 3, 4, 5]
    assert told(known, chat("a", "bb", "c", "d")) == [1, 3, 4, 5]
    assert told(known, chat("a", "bb", "x", "d")) == [1, 3, 4, 5]
    assert finder.asked == [[1, 2], [3, 4], [3, 4]]
    assert known("t", variables(chat("a", "bb")), "abb", [1, 2]) == Boundaries([1, 3], True)
    assert finder.asked[-1] == [2]

    assert told(known, chat("a", "bb"), tools=[1]) == [1, 3]  # another prompt altogether
    assert finder.asked[-1] == [1, 2]


def test_a_text_that_changed_before_an_end_makes_it_unknown() -> None:
    finder = Finder()
    known = KnownBoundaries(finder)
    turns = chat("aa", "bb")
    known("t", variables(turns), "aabb", [1, 2])
    known("t", variables([*turns, *chat("c")]), "a-bbc", [1, 2, 3])
    assert finder.asked[-1] == [1, 2, 3]


def test_a_long_chat_is_looked_at_from_its_end() -> None:
    finder = Finder()
    known = KnownBoundaries(finder)
    turns = chat(*"x" * 200)
    ends = told(known, turns)
    assert len(finder.asked[0]) == MOST_SOUGHT
    assert ends[0] == 1
    assert ends[1] is None
    assert ends[-3:] == [198, 199, 200]
    told(known, [*turns, *chat("y", "z")])
    assert finder.asked[1] == [201, 202]  # what is before stays unknown


def test_a_template_that_fails_is_not_asked_again_and_no_chat_fails() -> None:
    finder = Finder()
    known = KnownBoundaries(finder)
    finder.error = WireError("unavailable", "no process")
    assert told(known, chat("a")) == [None]
    finder.error = WireError("invalid_params", "too slow")
    assert told(known, chat("a")) == [None]
    assert told(known, chat("a", "b")) == [None, None]
    assert finder.asked == [[1], [1]]
