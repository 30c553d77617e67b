"""A template decides about a marked message as it does about the same message without marks."""

from __future__ import annotations

import pytest

from mlxwire_worker.mlx_engine.text.chat_environment import make_environment

MARK = "\ue000"
PLAIN = " <think>\nlet me</think>\n\n<tool_response>x</tool_response> "
MARKED = PLAIN.replace("<", "<" + MARK)

EXPRESSIONS = (
    "c[:8] == ' <think>'",
    "c[1:8]",
    "c[-17:-1]",
    "c[c|length - 17:]",
    "c[2]",
    "c[0] ~ c[1:]",
    "c[-1]",
    "c[99]",
    "c|first ~ c[1:]",
    "c.split(sep='</think>')",
    "c.replace('x', c)|length",
    "c|length",
    "c|count",
    "c.startswith(' <think>')",
    "c.endswith('</tool_response> ')",
    "c.strip().startswith('<think>')",
    "c|trim",
    "c.find('</think>')",
    "c.index('<tool_response>')",
    "c.count('<')",
    "c.split('</think>')",
    "c.split('</think>')[-1].lstrip('\\n')",
    "c.split('<think>')[-1].split('</think>')[0].rstrip('\\n').lstrip('\\n')",
    "c.rsplit('</think>', 1)[0]",
    "c.partition('</think>')[2]",
    "c.replace('<think>', '')",
    "c|replace('</think>', '!')",
    "c.removeprefix(' <think>')",
    "'<think>' in c",
    "c == p",
    "c != p",
    "c is eq(p)",
    "'<tool_response>' is in(c)",
    "(c ~ 'a')[:9]",
    "(c|string)[1:8]",
    "c[1:8] in ['<think>']",
    "[c][0][1:8]",
    "{'k': c}['k'][1:8]",
    "c.splitlines()",
    "c|upper|length",
    "c[::-1]|length",
    "c.rpartition('</think>')[2]",
    "c.removesuffix('</tool_response> ')",
    "c.lstrip(' <')",
    "c|first",
    "c|last",
    "c|list|length",
    "c|wordcount",
    "c is string",
    "c|reverse|length",
    "c > '<'",
)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_blind_to_marks(expression: str) -> None:
    environment = make_environment()
    template = environment.from_string("{{ " + expression + " }}")
    expected = template.render(c=PLAIN, p=PLAIN)
    environment.mark = MARK

    assert (
        template.render(c=MARKED, p=PLAIN).replace(MARK, "").replace("\\ue000", "") == expected
    )


def test_a_loop_over_characters_is_blind_to_marks() -> None:
    environment = make_environment()
    template = environment.from_string("{% for x in c %}{{ loop.index }}{{ x }}{% endfor %}")
    expected = template.render(c=PLAIN)
    environment.mark = MARK

    assert template.render(c=MARKED).replace(MARK, "") == expected
