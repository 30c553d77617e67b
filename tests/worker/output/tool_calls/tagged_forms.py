"""The families that write each argument by itself, with calls as their models write them."""

from __future__ import annotations

from typing import NamedTuple

from mlxwire_worker.output.marked import CallForm, MarkedChannels
from mlxwire_worker.output.tool_calls.dsml import Dsml
from mlxwire_worker.output.tool_calls.family import Family, Tools
from mlxwire_worker.output.tool_calls.gemma import Gemma
from mlxwire_worker.output.tool_calls.glm import Glm
from mlxwire_worker.output.tool_calls.minimax import MiniMax
from mlxwire_worker.output.tool_calls.qwen3_coder import Qwen3Coder

from .cuts import Call, parts_of, split


class Form(NamedTuple):
    family: Family
    marks: tuple[str, ...]
    now: str
    look: str
    """A call of `look` with a city, a unit, days and a list, as the models write it."""


FORMS = {
    "qwen3-coder": Form(
        Qwen3Coder(),
        ("<tool_call>", "</tool_call>"),
        "<tool_call>\n<function=now-2>\n</function>\n</tool_call>",
        "<tool_call>\n<function=look>\n<parameter=city>\nBern\n</parameter>\n<parameter=unit>\n°C\n"
        "</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=more>\n[1,2]\n</parameter>\n"
        "</function>\n</tool_call>",
    ),
    **{
        f"glm, lines: {bool(line)}": Form(
            Glm(lines=bool(line)),
            (
                "<tool_call>",
                "</tool_call>",
                "<arg_key>",
                "</arg_key>",
                "<arg_value>",
                "</arg_value>",
            ),
            f"<tool_call>now-2{line}</tool_call>",
            f"<tool_call>look{line}<arg_key>city</arg_key>{line}<arg_value>Bern</arg_value>{line}"
            f"<arg_key>unit</arg_key>{line}<arg_value>°C</arg_value>{line}"
            f"<arg_key>days</arg_key>{line}<arg_value>3</arg_value>{line}"
            f"<arg_key>more</arg_key>{line}<arg_value>[1, 2]</arg_value>{line}</tool_call>",
        )
        for line in ("\n", "")
    },
    "minimax": Form(
        MiniMax(),
        ("<minimax:tool_call>", "</minimax:tool_call>"),
        '<minimax:tool_call>\n<invoke name="now-2">\n</invoke>\n</minimax:tool_call>',
        '<minimax:tool_call>\n<invoke name="look">\n<parameter name="city">Bern</parameter>\n'
        '<parameter name="unit">°C</parameter>\n<parameter name="days">3</parameter>\n'
        '<parameter name="more">[1, 2]</parameter>\n</invoke>\n</minimax:tool_call>',
    ),
    "dsml": Form(
        Dsml(),
        ("｜DSML｜",),
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="now-2">\n</｜DSML｜invoke>\n'
        "</｜DSML｜function_calls>",
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="look">\n'
        '<｜DSML｜parameter name="city" string="true">Bern</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="unit" string="true">°C</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>\n'
        '<｜DSML｜parameter name="more" string="false">[1, 2]</｜DSML｜parameter>\n'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
    ),
    "gemma, function": Form(
        Gemma("function"),
        ("<start_function_call>", "<end_function_call>", "<escape>"),
        "<start_function_call>call:now-2{}<end_function_call>",
        "<start_function_call>call:look{city:<escape>Bern<escape>,unit:<escape>°C<escape>,days:3,"
        "more:[1,2]}<end_function_call>",
    ),
    "gemma, 4": Form(
        Gemma("4"),
        ("<|tool_call>", "<tool_call|>", '<|"|>'),
        "<|tool_call>call:now-2{}<tool_call|>",
        '<|tool_call>call:look{city:<|"|>Bern<|"|>,unit:<|"|>°C<|"|>,days:3,more:[1,2]}<tool_call|>',
    ),
}


def calls_in(family: Family, tools: Tools, text: str) -> list[Call]:
    """Return the calls of a text, which has nothing else."""
    parts = parts_of(split(MarkedChannels(None, CallForm(family, tools)), [text]))
    calls = [part for part in parts if isinstance(part, Call)]
    assert calls == parts, text
    return calls
