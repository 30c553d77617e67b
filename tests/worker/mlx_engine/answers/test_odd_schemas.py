"""A call that must come is complete, parses and is valid, whatever its family and its schema."""

from __future__ import annotations

import functools
import json
import random

import numpy as np
import pytest

from factories.tokenization import special, train_qwen
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.answers.arguments import ArgumentChecks
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from mlxwire_worker.output.tool_calls.family import Tool, Tools
from support.call_forms import FORMS, Setting
from support.odd_schemas import ODD, SMALL, TEXT, of

END = "<|im_end|>"
MOST = 1500
CLOSINGS = (
    '"',
    "}",
    "]",
    '"}',
    "\n",
    "\n</parameter>",
    "</parameter>",
    "</",
    "</arg_value>",
    "</tool_call>",
)
"""Texts that end a value, a list or a call, where they may stand."""


@functools.cache
def setting(name: str) -> Setting:
    marks = FORMS[name].marks
    tokenizer = Tokenizer(train_qwen(special(END, "<think>", "</think>", *marks)), {})
    return Setting(name, tokenizer, tokenizer.size, {tokenizer.added_ids[END]})


def answered(name: str, tool: Tool, seed: int) -> str:
    """Return an answer of random tokens under the mask, which comes to an end."""
    given = setting(name)
    tokenizer, vocabulary, ends = given.tokenizer, given.vocabulary, given.ends
    constraint, chance = given.constraint(tool), random.Random(seed)
    row = np.zeros(-(-vocabulary.size // 32), dtype=np.int32)
    closings = [
        tokenizer.encode(text, add_special_tokens=False)
        for text in (*CLOSINGS, *FORMS[name].marks)
    ]
    tokens: list[int] = []
    begun: list[int] = []
    while len(tokens) < MOST:
        constraint.follow(tokens)
        if constraint.ended:
            break
        constraint.fill(row, row.ctypes.data)
        bits = np.unpackbits(row.view(np.uint8), bitorder="little", count=vocabulary.size)
        allowed = np.flatnonzero(bits).tolist()
        if ends & set(allowed) and chance.random() < 0.5:
            break
        if not (begun and begun[0] in allowed):
            begun = []
            if len(tokens) > 40 or chance.random() < 0.3:
                possible = [each for each in closings if each[0] in allowed]
                begun = list(chance.choice(possible)) if possible else []
        if begun:
            allowed = [begun.pop(0)]
        tokens.append(chance.choice(allowed))
    constraint.follow(tokens)
    assert constraint.complete, tokenizer.decode(tokens)
    return tokenizer.decode(tokens)


@pytest.mark.parametrize("name", FORMS)
def test_a_required_call_under_odd_schemas_is_whole_and_valid(name: str) -> None:
    for number, (kind, parameters) in enumerate(ODD.items()):
        tool = Tool(name="do-it", parameters=parameters)
        answer = answered(name, tool, number)
        arguments = setting(name).arguments_in(tool, answer)
        assert isinstance(json.loads(arguments), dict)
        problem = ArgumentChecks(Tools([tool])).problem(tool.name, arguments)
        assert problem is None, (kind, answer, arguments, problem)


TAGGED = ("qwen3-coder", "glm", "minimax", "dsml")
IF = {**of(a=SMALL), "if": {"required": ["a"]}, "then": {"required": ["b"]}}


@pytest.mark.parametrize(
    ("names", "parameters", "path"),
    [
        (TAGGED, {**of(a=SMALL), "not": {"required": ["b"]}}, "/not"),
        (TAGGED, IF, "/if"),
        (TAGGED, {**of(a=SMALL), "propertyNames": {"maxLength": 1}}, "/propertyNames"),
        (TAGGED, {"type": "object", "minProperties": 3}, "/minProperties"),
        (TAGGED, {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "/$defs/a/$ref"),
        (TAGGED, {"oneOf": [of(a=SMALL), of(a=TEXT)]}, "/oneOf"),
        (TAGGED, of(a={"type": "string", "pattern": "^(?=x)"}), "/properties/a/pattern"),
        (("qwen3-coder",), of(a={"enum": ["b", "</parameter>"]}), "/properties/a/enum"),
        (("qwen3-coder",), of(a={"const": "x\n</tool_call>"}), "/properties/a/const"),
        (("qwen3-coder",), of(**{"a>b": TEXT}), "/properties/a>b"),
        (("qwen3-coder",), of(**{" a": TEXT}), "/properties/ a"),
        (("qwen3-coder",), of(a={"enum": ["5"], "type": ["string", "integer"]}), "/properties/a/enum"),
        (("glm",), of(a={"const": "</arg_value>"}), "/properties/a/const"),
        (("glm",), of(**{"a</arg_key>": TEXT}), "/properties/a<~1arg_key>"),
        (("glm",), of(**{"a\nb": TEXT}), "/properties/a\nb"),
        (("minimax", "dsml"), of(**{'a"b': TEXT}), '/properties/a"b'),
        (("dsml",), of(a={"const": "｜DSML｜"}), "/properties/a/const"),
        (("gemma4",), of(a={"const": '<|"|>'}), "/properties/a/const"),
        (("gemma4",), of(a={"type": "array", "uniqueItems": True}), "/properties/a/uniqueItems"),
        (tuple(FORMS), {**of(a=SMALL), "additionalProperties": False, "required": ["z"]}, None),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_what_a_call_cant_carry_is_refused_by_keyword_and_path(
    names: tuple[str, ...], parameters: dict[str, object], path: str | None
) -> None:
    for name in names:
        with pytest.raises(WireError) as refused:
            setting(name).constraint(Tool(name="do-it", parameters=parameters))

        told = refused.value.data
        assert (refused.value.code, told["field"]) == (
            "invalid_params",
            "tools[0].function.parameters",
        )
        if path is not None:
            assert (told["path"], told["keyword"]) == (
                path,
                told["path"].rsplit("/", 1)[1].replace("~1", "/"),
            )
