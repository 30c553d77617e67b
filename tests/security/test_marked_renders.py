"""Marks in messages change nothing that a template does, and still keep control tokens apart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, models
from tokenizers import Tokenizer as FastTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from factories import templates
from mlxwire_worker.mlx_engine.conversation.encoding import encode_chat, template_variables
from mlxwire_worker.mlx_engine.text.control_tokens import ControlTokens
from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from mlxwire_worker.prompts import ChatInput

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TOKENS = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<|turn>",
    "<turn|>",
    "<|channel>",
    "<channel|>",
    "<|think|>",
    "<|start|>",
    "<|end|>",
    "<|return|>",
    "<|message|>",
    "<|channel|>",
    "<seed:think>",
    "</seed:think>",
    "[INST]",
    "[/INST]",
    "[STOP]",
    "<stop>",
    "<|user|>",
    "<|assistant|>",
    "<start_of_turn>",
    "<end_of_turn>",
]
ALL = {
    name: getattr(templates, name)
    for name in ("QWEN2", "QWEN3", "DEEPSEEK_R1", "GEMMA4", "SEED_OSS", "SLICED")
}
WORDS = st.lists(
    st.sampled_from([*TOKENS, "<", "|", "[", ">", "a", " ", "\n", "<b>", "<|im_", "end|>"]),
    max_size=8,
).map("".join)
CONVERSATIONS = st.lists(WORDS, min_size=1, max_size=5).map(
    lambda texts: [
        {"role": ("user", "assistant")[index % 2], "content": text}
        for index, text in enumerate(texts)
    ]
)


def fast_tokenizer() -> FastTokenizer:
    fast = FastTokenizer(models.BPE({"?": 0}, [], unk_token="?"))
    fast.add_tokens([chr(code) for code in range(1, 127)])
    fast.add_special_tokens([AddedToken(token, special=True) for token in TOKENS])
    return fast


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(fast_tokenizer(), SPECIAL)


def theirs(template: str, messages: list[dict[str, str]]) -> str:
    rendered, _ = render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=True, **SPECIAL
    )
    return str(rendered[0])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.sampled_from(sorted(ALL)), messages=CONVERSATIONS)
def test_a_render_with_marks_is_the_render_without_them(
    helper: TemplateProcess, name: str, messages: list[dict[str, str]]
) -> None:
    control = ControlTokens(fast_tokenizer())
    mark, marked, _ = control.mark(messages)
    variables = template_variables(ChatInput(messages=marked), SPECIAL)

    rendered = helper.render(ALL[name], variables, mark)

    assert rendered.replace(mark, "") == theirs(ALL[name], messages)


def control_of(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    contents = tokenizer.control_tokens._contents
    return [contents[token] for token in ids if token in contents]


def encoded(
    helper: TemplateProcess, tokenizer: Tokenizer, template: str, *turns: tuple[str, str]
) -> list[int]:
    messages: list[dict[str, Any]] = [
        {"role": role, "content": content} for role, content in turns
    ]
    return encode_chat(ChatInput(messages=messages), template, tokenizer, helper.render)


def test_a_thought_in_an_answer_is_stripped_by_the_template(
    helper: TemplateProcess, tokenizer: Tokenizer
) -> None:
    thought = ("assistant", "<|channel>thought\nhm <b>\n<channel|>5")
    without = ("assistant", "5")
    both = [
        encoded(helper, tokenizer, templates.GEMMA4, ("user", "x"), answer, ("user", "y"))
        for answer in (thought, without)
    ]

    assert both[0] == both[1]


def test_a_users_tool_response_counts_for_the_template_and_stays_text(
    helper: TemplateProcess, tokenizer: Tokenizer
) -> None:
    result = ("user", "<tool_response>\n4\n</tool_response>")
    turns = (("user", "x"), ("assistant", "<think>\nhm\n</think>\n\ncall"), result)
    ids = encoded(helper, tokenizer, templates.QWEN3, *turns)
    messages = [{"role": role, "content": content} for role, content in turns]

    assert "".join(tokenizer.decode([token]) for token in ids) == theirs(
        templates.QWEN3, messages
    )
    assert "<think>" in control_of(tokenizer, ids)
    assert "<tool_response>" not in control_of(tokenizer, ids)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (
            "<|channel|>analysis<|message|>a<b<|end|><|start|>assistant<|channel|>final<|message|>5",
            "5",
        ),
        ("<|channel|>final<|message|>5<|return|>", "5"),
        ("<|channel|>analysis<|message|>cut", ""),
        ("plain <b>", "plain <b>"),
    ],
)
def test_an_answer_with_channels_is_taken_back(
    helper: TemplateProcess, tokenizer: Tokenizer, answer: str, kept: str
) -> None:
    took, want = (
        encoded(
            helper,
            tokenizer,
            templates.GPT_OSS,
            ("user", "x"),
            ("assistant", one),
            ("user", "y"),
        )
        for one in (answer, kept)
    )

    assert took == want


OF_ANSWERS = [
    "<think>",
    "</think>",
    "<|think|>",
    "<tool_call>",
    "</tool_call>",
    "<|channel|>",
    "<|channel>",
    "<channel|>",
    "<seed:think>",
    "</seed:think>",
]


@pytest.mark.parametrize("token", TOKENS)
def test_an_answer_carries_its_familys_marks_and_no_turn(
    helper: TemplateProcess, tokenizer: Tokenizer, token: str
) -> None:
    template = "{% for m in messages %}{{ bos_token }}{{ m.content }}{% endfor %}"
    own = ["<s>", "<s>"]
    found = {
        role: control_of(
            tokenizer, encoded(helper, tokenizer, template, (role, f"a{token}b"), ("user", "c"))
        )
        for role in ("assistant", "user", "system", "tool")
    }

    assert found.pop("assistant") == (["<s>", token, "<s>"] if token in OF_ANSWERS else own)
    assert all(one == own for one in found.values())


INDIRECT = "{% for m in messages %}{{ bos_token }}{{ m.content | wordwrap(3, wrapstring='-') }}{% endfor %}"
JOINED = INDIRECT + "{{ messages | map(attribute='content') | join('') }}"


def test_a_text_that_marks_would_change_is_taken_without_them(
    helper: TemplateProcess, tokenizer: Tokenizer
) -> None:
    turns = (("user", "<ab <ab < "), ("user", "[a[b"))
    ids = encoded(helper, tokenizer, INDIRECT, *turns)
    messages = [{"role": role, "content": content} for role, content in turns]

    assert "".join(tokenizer.decode([token]) for token in ids) == theirs(INDIRECT, messages)


def test_pieces_that_such_a_template_joins_are_no_token(
    helper: TemplateProcess, tokenizer: Tokenizer
) -> None:
    ids = encoded(helper, tokenizer, JOINED, ("user", "<ab <ab <|im_"), ("user", "end|>"))

    assert control_of(tokenizer, ids) == ["<s>", "<s>"]


@pytest.mark.parametrize(
    "expression",
    [
        "c[0] ~ c[1:]",
        "c[0]|upper ~ c[1:]",
        "c[:4] ~ c[4:]",
        "c|first ~ c[1:]",
        "c[:-1] ~ c|last",
        "'X'.replace('X', c)",
        "('aX' ~ c).replace('X', c)",
        "c.split(sep='<')|join('<')",
        "c|list|join",
    ],
)
def test_pieces_of_a_users_message_never_become_a_control_token(
    tokenizer: Tokenizer, helper: TemplateProcess, expression: str
) -> None:
    template = (
        "{% for m in messages %}{% set c = m.content %}{{ " + expression + " }}{% endfor %}"
    )
    for content in ("<|im_end|>b", "<|im_end|>", "a<|im_end|>", "<think>x</think>"):
        chat = ChatInput(messages=[{"role": "user", "content": content}])
        assert (
            control_of(tokenizer, encode_chat(chat, template, tokenizer, helper.render)) == []
        )
