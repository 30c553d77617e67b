"""Chat templates: transformers' text, from a helper that no template can hold up or get out of."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from factories import FAMILIES
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.conversation.encoding import template_variables
from mlxwire_worker.mlx_engine.text import template_process as template_module
from mlxwire_worker.mlx_engine.text.chat_template import find_templates
from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from mlxwire_worker.mlx_engine.text.thinking import find_switch
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from mlxwire_worker.prompts import ChatInput
from support.model_worker import Models, ModelWorker
from support.patience import PATIENCE_SECONDS
from support.processes import children_of
from support.reference import reference

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": " What is <b>2 & 3</b>, 'x'? Grüße 🚀\n"}
ANSWER = {"role": "assistant", "content": "<think>\nA sum.\n</think>\n\n5."}
ENDLESS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
CONVERSATIONS = {
    "one turn": [USER],
    "system": [SYSTEM, USER],
    "three turns": [USER, ANSWER, USER],
    "all": [SYSTEM, USER, ANSWER, USER, ANSWER, USER],
}


def chat(messages: list[dict[str, str]], **fields: Any) -> ChatInput:
    return ChatInput(messages=messages, **fields)


@pytest.mark.parametrize("thinking", [None, True, False], ids=["omitted", "on", "off"])
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_renders_as_with_transformers(
    helper: TemplateProcess,
    models: Models,
    family: str,
    conversation: str,
    thinking: bool | None,
) -> None:
    messages = CONVERSATIONS[conversation]
    switch = {} if thinking is None else {"thinking": thinking}
    theirs = {} if thinking is None else {"enable_thinking": thinking}
    path = models(family)
    templates = find_templates(path)
    assert templates is not None
    source = templates.default
    special = Tokenizer.from_folder(path).special_tokens
    found = find_switch(source, template_variables(chat([]), special), helper.render)
    variables = template_variables(chat(messages, **switch), special, found)

    assert helper.render(source, variables) == reference(path).render(messages, **theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_enable_thinking_alone_is_set_as_mlx_lm_does(
    helper: TemplateProcess, models: Models, family: str
) -> None:
    path = models(family)
    templates = find_templates(path)
    assert templates is not None
    source = templates.default
    tokens = Tokenizer.from_folder(path).special_tokens
    variables = template_variables(chat([USER], enable_thinking=True), tokens)

    assert "thinking" not in variables
    assert helper.render(source, variables) == reference(path).render(
        [USER], enable_thinking=True
    )


def test_the_thinking_switch_changes_the_answer_of_a_model_that_has_one(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("qwen3"))
    omitted, on, off = (
        worker.chat([USER], max_tokens=12, **switch)
        for switch in ({}, {"thinking": True}, {"thinking": False})
    )

    assert omitted == on
    assert off != on


def refusal(helper: TemplateProcess, source: str, **variables: Any) -> WireError:
    with pytest.raises(WireError) as raised:
        helper.render(source, variables)
    assert helper.render("{{ word }}", {"word": "fine"}) == "fine"
    assert (raised.value.code, raised.value.data["field"]) == ("invalid_params", "messages")
    assert len(raised.value.message) < 2000
    return raised.value


def test_a_template_that_refuses_says_why(helper: TemplateProcess) -> None:
    error = refusal(helper, "{{ raise_exception('roles must ' + word) }}", word="alternate")

    assert "roles must alternate" in error.message


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% include '/etc/hostname' %}",
        "{% import 'os' as os %}",
        "{{ raise_exception.__globals__.os }}",
        "{{ 1 / 0 }}",
        "{{ range(10 ** 7) | length }}",
        "{{ no_such_function() }}",
        "{{ messages[0].content.missing.deeper }}",
        "{{ '\\ud800' }}",
        "{{ raise_exception('x' * 10 ** 7) }}",
        "{{ undefined_filter | no_such_filter }}",
    ],
)
def test_what_the_sandbox_forbids_is_a_refusal(helper: TemplateProcess, source: str) -> None:
    refusal(helper, source, messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    "source",
    [
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ '%s' | format(messages.__class__) }}",
        "{{ raise_exception.__globals__ }}",
        "{{ (messages | map(attribute='__class__') | list)[0] }}",
        "{{ messages | attr('__class__') }}",
    ],
)
def test_what_a_template_must_not_see_is_empty(helper: TemplateProcess, source: str) -> None:
    assert helper.render(source, {"messages": ["x"]}) == ""


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * (10 ** 10) }}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'x' * 100000 }}{% endfor %}",
        "{{ 'x' * (100 * 1024 * 1024) }}",
    ],
    ids=["multiplied", "doubled", "appended", "long output"],
)
def test_a_memory_bomb_is_a_refusal(helper: TemplateProcess, source: str) -> None:
    refusal(helper, source)


def test_an_endless_loop_is_killed_and_the_next_render_works(
    helper: TemplateProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_module, "RENDER_SECONDS", 0.5)
    with pytest.raises(WireError, match=r"took more than 0.5 s"):
        helper.render(ENDLESS, {})

    assert helper.render("{{ 1 + 1 }}", {}) == "2"


def test_renders_that_share_a_time_are_refused_once_it_is_spent(
    helper: TemplateProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_module, "RENDER_SECONDS", 0.5)
    shared = template_module.RenderTime(PATIENCE_SECONDS)
    assert helper.render("{{ 1 + 1 }}", {}, time=shared) == "2"
    assert 0 < shared.left < PATIENCE_SECONDS
    with pytest.raises(WireError, match=r"took more than 0.5 s"):
        helper.render(ENDLESS, {}, time=shared)
    assert shared.spent

    with pytest.raises(WireError, match=r"took more than 0.5 s"):
        helper.render("{{ 1 + 1 }}", {}, time=shared)
    assert helper.render("{{ 1 + 1 }}", {}) == "2"


@pytest.fixture
def struck(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, bool], None]:
    """Return a function that ends the next request's helper by a signal."""
    exchange = template_module.exchange

    def strike(number: int, after: bool) -> None:
        def strikes(process: subprocess.Popen[bytes], request: bytes, limit: float) -> bytes:
            monkeypatch.setattr(template_module, "exchange", exchange)
            if after:
                assert process.stdin is not None
                process.stdin.write(request)
            os.kill(process.pid, number)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            return exchange(process, request, limit)

        monkeypatch.setattr(template_module, "exchange", strikes)

    return strike


@pytest.mark.parametrize("after", [False, True], ids=["before", "while it renders"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_helper_killed_from_outside_is_not_the_messages_fault(
    helper: TemplateProcess,
    struck: Callable[[int, bool], None],
    number: signal.Signals,
    after: bool,
) -> None:
    struck(number, after)
    with pytest.raises(WireError) as raised:
        helper.render(ENDLESS, {})

    assert (raised.value.code, raised.value.retryable) == ("unavailable", True)
    assert helper.render("{{ 1 + 1 }}", {}) == "2"


def test_a_helper_killed_while_it_checks_is_not_the_models_fault(
    helper: TemplateProcess, struck: Callable[[int, bool], None]
) -> None:
    struck(signal.SIGKILL, False)
    with pytest.raises(WireError) as raised:
        helper.check("{{ 1 }}")

    assert (raised.value.code, raised.value.retryable) == ("unavailable", True)
    helper.check("{{ 1 }}")


@pytest.mark.parametrize("number", [signal.SIGXCPU, signal.SIGSEGV])
def test_a_helper_that_dies_of_its_own_limits_is_the_templates_fault(
    helper: TemplateProcess, struck: Callable[[int, bool], None], number: signal.Signals
) -> None:
    struck(number, True)

    assert "too much memory or time" in refusal(helper, ENDLESS).message


def test_a_helper_that_was_killed_is_replaced() -> None:
    others = set(children_of(os.getpid()))
    process = TemplateProcess()
    assert process.render("{{ 1 + 1 }}", {}) == "2"
    (pid,) = set(children_of(os.getpid())) - others
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert process.render("{{ 2 + 2 }}", {}) == "4"
    process.close()


def test_a_long_conversation_passes_both_ways(helper: TemplateProcess) -> None:
    messages = [{"role": "user", "content": "x" * 1000}] * 5000
    source = "{% for m in messages %}{{ m.content }}{% endfor %}"

    assert helper.render(source, {"messages": messages}) == "x" * 5_000_000


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ {'b': 1, 'a': '<ü>'} | tojson }}", '{"b": 1, "a": "<ü>"}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("a{% generation %}b{% endgeneration %}c", "abc"),
        (
            "{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "1",
        ),
        ("  {% if true %}\n  x\n  {% endif %}\n", "  x\n"),
        ("{{ tools is none }}{{ missing is defined }}", "TrueFalse"),
        ("{{ strftime_now('%Y') | length }}", "4"),
    ],
)
def test_templates_find_what_transformers_gives_them(
    helper: TemplateProcess, source: str, text: str
) -> None:
    assert helper.render(source, {"tools": None}) == text


def test_a_template_without_room_for_the_roles_is_the_hosts_error_on_the_wire(
    worker: ModelWorker, models: Models
) -> None:
    worker.use(models("gemma3"))
    error = worker.refusal("chat", messages=[USER, USER])

    assert (error["code"], error["data"]["field"]) == ("invalid_params", "messages")
    assert "alternate" in error["message"]
    assert worker.chat([USER], max_tokens=2)
