"""A chat template made to harm: ended within its limits in the helper, and the worker lives on.

What templates may do, and what the sandbox lets through, is in `worker/mlx_engine/text/test_chat_template.py`.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.text import template_process as template_module
from mlxwire_worker.mlx_engine.text import template_program as template_process
from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from support.model_worker import ModelWorker
from support.patience import PATIENCE_SECONDS
from support.processes import children_of, has_ended, resident_bytes
from support.tiny_model import TINY

USER = [{"role": "user", "content": "hello"}]
MOST_BYTES = 600 << 20


def refusal(helper: TemplateProcess, source: str, seconds: float = 5.0) -> str:
    """Render a template that must be refused; return the message. The next render must work."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(template_module, "RENDER_SECONDS", seconds)
        with pytest.raises(WireError) as raised:
            helper.render(source, {"messages": USER, "tools": None})
    assert helper.render("{{ 1 + 1 }}", {}) == "2"
    assert raised.value.code == "invalid_params"
    return raised.value.message


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ ''|attr('__class__')|attr('__mro__') }}",
    "{{ [''] | map(attribute='__class__.__mro__') | first }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{0.__class__.__mro__}'.format_map({'0': ''}) }}",
    "{{ '%s' % ''.__class__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__['os'].popen('id') }}",
    "{{ cycler('a').__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__.os }}",
    "{{ namespace.__init__.__globals__.os }}",
    "{{ lipsum.__globals__['os'] }}",
    "{{ self._TemplateReference__context }}",
    "{{ self.__init__.__globals__ }}",
    "{{ raise_exception.__code__ }}",
    "{{ strftime_now.__globals__ }}",
    "{{ messages.__init__.__self__.clear() }}",
    "{{ messages.clear() }}",
    "{{ messages[0].update(role='x') }}",
    "{{ dict.fromkeys.__self__.__base__ }}",
    "{{ (messages | map('string') | list).__class__ }}",
    "{% set f = ''.format %}{{ f.__self__.__class__ }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% macro m() %}{{ caller._environment }}{% endmacro %}{% call m() %}{% endcall %}",
    "{{ loop.__init__.__globals__ }}",
    "{{ environment.from_string('x') }}",
    "{{ __import__('os') }}",
    "{{ open('/etc/hostname').read() }}",
    "{{ exec('1') }}",
    "{% from 'os' import path %}",
    "{% import 'chat_template.jinja' as t %}",
    "{% include 'config.json' %}",
    "{% extends '/etc/hostname' %}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_no_way_leads_out_of_the_sandbox(helper: TemplateProcess, source: str) -> None:
    """Check that each way is refused or renders nothing of any object behind the values."""
    try:
        text = helper.render(source, {"messages": USER})
    except WireError as error:
        text = error.message

    assert not [word for word in ("<class", "<module", "<function", "root:") if word in text]
    assert helper.render("{{ messages[0].role }}", {"messages": USER}) == "user"


ENDLESS = {
    "loops": "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3,
    "a power": "{% set n = 7 ** 9 %}{{ 7 ** n }}",
    "a power that is folded": "{{ 7 ** (7 ** 9) }}",
    "a power of powers": "{{ (9 ** 99999) ** 9999 }}",
    "a division": "{% set a = 7 ** 2000000 %}{{ (a ** 2) % (a + 1) }}{{ a }}",
    "a macro": "{% macro m(n) %}{% for i in range(9) %}{{ m(n + 1) }}{% endfor %}{% endmacro %}"
    "{{ m(0) }}",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_goes_on_for_ever_is_ended(helper: TemplateProcess, kind: str) -> None:
    refusal(helper, ENDLESS[kind], seconds=1.0)


LARGE = {
    "a product": "{{ 'x' * 10 ** 10 }}",
    "a list": "{{ ([0] * 10 ** 10) | length }}",
    "a range": "{{ range(10 ** 12) | list | length }}",
    "a width": "{{ '%010000000000d' % 1 }}",
    "a format": "{{ '{:10000000000}'.format(1) }}",
    "centred": "{{ 'x' | center(10 ** 10) }}",
    "indented": "{{ ('x\n' * 99999) | indent(99999) }}",
    "replaced": "{{ ('a' * 99999) | replace('a', 'b' * 99999) }}",
    "joined": "{{ ('a' * 99999) | join('b' * 99999) }}",
    "nonsense": "{{ lipsum(n=10 ** 8) }}",
    "JSON": "{{ [0] | tojson(indent=10 ** 10) }}",
    "a gigabyte of text": "{% for i in range(50000) %}{{ 'x' * 21000 }}{% endfor %}",
    "more than is taken": "{{ 'x' * 80000000 }}",
    "wide characters": "{{ '\U0001f680' * 60000000 }}",
}


@pytest.mark.parametrize("kind", LARGE)
def test_what_would_fill_the_memory_is_ended(helper: TemplateProcess, kind: str) -> None:
    before = resident_bytes(os.getpid())

    refusal(helper, LARGE[kind], seconds=2.0)

    assert resident_bytes(os.getpid()) - before < MOST_BYTES


DEEP = {
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "brackets": "{{ " + "(" * 99999 + "1" + ")" * 99999 + " }}",
    "blocks": "{% if 1 %}" * 9999 + "{% endif %}" * 9999,
    "a list in itself": "{% set n = namespace(a=[]) %}{% for i in range(99999) %}"
    "{% set n.a = [n.a] %}{% endfor %}{{ n.a }}",
}


@pytest.mark.parametrize("kind", DEEP)
def test_what_is_nested_without_an_end_is_ended(helper: TemplateProcess, kind: str) -> None:
    refusal(helper, DEEP[kind])


@pytest.mark.parametrize("source", [ENDLESS["a power"], ENDLESS["loops"]])
def test_the_helper_ends_with_its_worker_amid_a_render(tmp_path: Path, source: str) -> None:
    """Check the end also where the interpreter's lock is held, so that stdin's end is not heard."""
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    (folder / "chat_template.jinja").write_text(source)
    with ModelWorker() as worker:
        worker.load(str(folder))
        worker.send("chat", messages=USER)
        assert worker.ask("metrics")["in_flight"] == 1
        (helper,) = children_of(worker.process.pid)
        worker.close_stdin()
        assert worker.wait() == 0

    assert has_ended(helper, template_process.CPU_SECONDS + PATIENCE_SECONDS)


@pytest.mark.parametrize(
    "source", [ENDLESS["loops"], LARGE["a gigabyte of text"], DEEP["blocks"]]
)
def test_a_harmful_template_costs_its_own_request_alone(tmp_path: Path, source: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    (folder / "chat_template.jinja").write_text(source)
    with ModelWorker() as worker:
        loaded = worker.ask("load", path=str(folder))
        if loaded["type"] == "error":
            assert loaded["error"]["data"] == {"reason": "chat_template"}
            return
        chat = worker.send("chat", messages=USER)
        stream = worker.send("generate", prompt="Once upon", max_tokens=4)
        error = worker.final(chat, PATIENCE_SECONDS)["error"]

        assert (error["code"], error["data"]) == ("invalid_params", {"field": "messages"})
        assert worker.final(stream)["type"] == "done"


def test_a_template_of_a_hundred_megabytes_is_refused(
    helper: TemplateProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_module, "RENDER_SECONDS", 2.0)
    source = "{{ 1 }}" * (14 << 20)
    before = resident_bytes(os.getpid())

    with pytest.raises(WireError) as raised:
        helper.check(source)

    assert raised.value.data == {"reason": "chat_template"}
    assert resident_bytes(os.getpid()) - before < MOST_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_helpers_limits_are_in_force(helper: TemplateProcess) -> None:
    """Check the limits that end all of the above where the wall clock does not."""
    assert helper.render("{{ 1 }}", {}) == "1"
    (pid, *_) = [pid for pid in children_of(os.getpid()) if _is_helper(pid)]
    limits = Path(f"/proc/{pid}/limits").read_text()

    memory = next(line for line in limits.splitlines() if line.startswith("Max address space"))
    cpu = next(line for line in limits.splitlines() if line.startswith("Max cpu time"))
    assert memory.split()[3] == str(template_process.MEMORY_BYTES)
    assert int(cpu.split()[3]) < 3600


def _is_helper(pid: int) -> bool:
    return b"template_program" in Path(f"/proc/{pid}/cmdline").read_bytes()
