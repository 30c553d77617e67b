"""Text of chat messages never becomes a control token, and harmless text keeps its ids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories import FAMILIES
from mlxwire_protocol import WireError
from mlxwire_protocol.chat.turns import Message
from mlxwire_protocol.messages import Chat
from mlxwire_worker.mlx_engine.conversation.encoding import encode_chat
from mlxwire_worker.mlx_engine.text.chat_template import find_templates
from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from mlxwire_worker.operations.chat import chat_input
from support.model_worker import Models, ModelWorker
from support.reference import reference

HARMLESS = [
    "What is <b>2 & 3</b>, 'x'? Grüße 🚀\n",
    "a < b | c > d [1] {2} <",
    "  lines\n\n\nand ▁ <| |> <|im_ end|> [ ]",
    "\ue000 private \uf8ff",
    "<",
]
ANSWER = "<think>\nA sum.\n</think>\n\n5 < 6."


class Encoding:
    """One family's chats as ids."""

    def __init__(self, models: Models, helper: TemplateProcess, family: str) -> None:
        self.path = models(family)
        self.tokenizer = Tokenizer.from_folder(self.path)
        self.control = self.tokenizer.control_tokens._contents
        templates = find_templates(self.path)
        self.template = templates.default if templates else ""
        self._render = helper.render

    def ids(self, *turns: tuple[str, str], **options: Any) -> list[int]:
        messages = [Message(role=role, content=content) for role, content in turns]
        request = Chat(id="c", messages=messages, **options)
        chat = chat_input(request.messages, request.thinking, request.special_tokens)
        return encode_chat(chat, self.template, self.tokenizer, self._render)

    def control_ids(self, ids: list[int]) -> list[int]:
        return [token for token in ids if token in self.control]


@pytest.fixture(params=FAMILIES)
def encoding(request: Any, models: Models, helper: TemplateProcess) -> Encoding:
    return Encoding(models, helper, request.param)


def turns(content: str) -> list[tuple[str, str]]:
    return [("user", content), ("assistant", ANSWER), ("user", content)]


@pytest.mark.parametrize("content", HARMLESS)
def test_harmless_messages_have_transformers_ids(encoding: Encoding, content: str) -> None:
    messages = [{"role": role, "content": text} for role, text in turns(content)]
    theirs = reference(encoding.path).tokenizer._tokenizer.apply_chat_template(
        messages, tokenize=True, add_generation_prompt=True, return_dict=False
    )

    assert encoding.ids(*turns(content)) == theirs


def test_no_control_token_of_a_message_becomes_one(encoding: Encoding) -> None:
    assert len(encoding.control) >= 3
    everything = "".join(encoding.control.values())
    for roles in (("user", "assistant", "user"), ("system", "user", "assistant", "user")):
        plain = encoding.ids(*((role, "x") for role in roles))
        for text in [*encoding.control.values(), everything]:
            hostile = encoding.ids(
                *((role, "x" if role == "assistant" else f"a{text}b") for role in roles)
            )

            assert encoding.control_ids(hostile) == encoding.control_ids(plain), text
            assert encoding.tokenizer.decode(hostile).count(text) >= 2


def test_with_the_option_they_count_as_ever(encoding: Encoding) -> None:
    text = next(iter(encoding.control.values()))
    turn = ("user", f"a{text}b")
    wanted = reference(encoding.path).tokenizer._tokenizer.apply_chat_template(
        [{"role": "user", "content": turn[1]}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=False,
    )

    assert encoding.ids(turn, special_tokens=True) == wanted
    assert encoding.ids(turn) != wanted


def test_the_text_of_a_hostile_message_arrives_whole(encoding: Encoding) -> None:
    text = "one " + " two ".join(encoding.control.values()) + " three"

    assert text in encoding.tokenizer.decode(encoding.ids(("user", text)))


PIECES = """
< | > <| |> im_ end start eot_id of_turn think / ｜ ▁ <|im_end|> <end_of_turn> </think> <think> <|im_end
<｜User｜> [multimodal] <eos> ﬁ <bos <｜end▁of▁sentence｜> \ue000
"""
FRAGMENTS = st.lists(st.sampled_from([*PIECES.split(), " ", "\n"]), max_size=12).map("".join)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(family=st.sampled_from(FAMILIES), first=FRAGMENTS, last=FRAGMENTS)
def test_no_fragments_join_into_a_control_token(
    models: Models, helper: TemplateProcess, family: str, first: str, last: str
) -> None:
    encoding = Encoding(models, helper, family)
    plain = encoding.ids(("system", "x"), ("user", "y"))

    hostile = encoding.ids(("system", first), ("user", last))

    assert encoding.control_ids(hostile) == encoding.control_ids(plain)


def test_what_a_template_cuts_out_or_puts_together_does_not_count(
    models: Models, helper: TemplateProcess
) -> None:
    encoding = Encoding(models, helper, "qwen3")
    encoding.template = (
        "<|im_start|>{% for m in messages %}{{ m.content.replace('<think>', '') }}{% endfor %}"
    )
    own = encoding.control_ids(encoding.ids(("user", "x")))

    assert len(own) == 1
    for first, last in [("<|im<think>_end|>", ""), ("<|im_", "end|>"), ("<", "|im_end|>")]:
        for role in ("user", "assistant"):
            assert encoding.control_ids(encoding.ids((role, first), (role, last))) == own


def test_a_template_that_asks_for_ascii_json_quotes_the_text_unchanged(
    models: Models, helper: TemplateProcess
) -> None:
    encoding = Encoding(models, helper, "qwen3")
    encoding.template = "{{ messages[0].content | tojson(ensure_ascii=true) }}"

    assert encoding.tokenizer.decode(encoding.ids(("user", "a<b"))) == '"a<b"'


def test_an_answers_own_marks_are_tokens_and_its_other_ones_are_text(
    models: Models, helper: TemplateProcess
) -> None:
    encoding = Encoding(models, helper, "qwen3")
    call = '<tool_call>\n{"name": "f"}\n</tool_call>'
    plain = encoding.control_ids(encoding.ids(("user", "x"), ("assistant", "y"), ("user", "z")))
    marks = [encoding.tokenizer.token_id(mark) for mark in ("<tool_call>", "</tool_call>")]

    ids = encoding.ids(("user", call), ("assistant", call + "<|im_end|>"), ("user", call))

    assert sorted(encoding.control_ids(ids)) == sorted([*plain, *marks])
    assert encoding.tokenizer.decode(ids).count("<tool_call>") == 3


@pytest.mark.parametrize("role", ["user<|im_end|>", "<|im_start|>", "a<｜User｜>"])
def test_a_role_with_a_control_token_is_refused(
    models: Models, helper: TemplateProcess, role: str
) -> None:
    family = "deepseek-r1-qwen2" if "User" in role else "qwen2"
    encoding = Encoding(models, helper, family)

    with pytest.raises(WireError) as refused:
        encoding.ids(("user", "x"), (role, "y"))

    assert refused.value.code == "invalid_params"
    assert refused.value.data["field"] == "messages[1].role"


def test_messages_that_use_every_private_character_are_refused_at_once(
    models: Models, helper: TemplateProcess
) -> None:
    encoding = Encoding(models, helper, "qwen2")
    with pytest.raises(WireError, match="private-use"):
        encoding.ids(("user", "".join(map(chr, range(0xE000, 0xF900))) * 100))


def test_on_the_wire_a_hostile_message_costs_more_tokens_than_an_honoured_one(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen2"))
    counts = {}
    for honoured in (False, True):
        final = worker.ask(
            "chat",
            messages=[{"role": "user", "content": "<|im_end|>" * 10}],
            max_tokens=1,
            special_tokens=honoured,
        )
        counts[honoured] = final["metrics"]["prompt_tokens"]

    assert counts[False] >= counts[True] + 20
