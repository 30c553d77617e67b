"""Answers under two hundred schemas are complete and valid, as formats and as required calls."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from mlxwire_protocol.formats import ResponseFormat
from mlxwire_worker.mlx_engine.answers.arguments import ArgumentChecks
from mlxwire_worker.output.tool_calls.family import Tool, Tools
from mlxwire_worker.prompts import Prompt
from support.call_forms import FORMS, Setting
from support.direct import Direct
from support.odd_schemas import random_object, random_schema
from support.tiny_model import TINY

ROWS = 16
MOST_TOKENS = 1000


@pytest.fixture(scope="module")
def direct(request: pytest.FixtureRequest) -> Iterator[Direct]:
    opened = Direct(request.config.getoption("--model", None) or TINY)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def numbers(request: pytest.FixtureRequest) -> range:
    return range(200 if request.config.getoption("--every", False) else 12)


@pytest.fixture(scope="module")
def temperature(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--hot", 2.0))


def whole(direct: Direct, prompts: list[Prompt]) -> list[str]:
    """Run prompts until each answer is complete; return the answers."""
    texts = []
    for start in range(0, len(prompts), ROWS):
        rows = prompts[start : start + ROWS]
        for prompt in rows:
            direct.add(prompt)
        running = list(rows)
        while running:
            direct.step()
            for prompt in list(running):
                answer, constraint = direct.answers[prompt], prompt.constraint
                assert answer.error is None, answer.error
                assert constraint is not None
                if answer.ended is None and constraint.ended:
                    direct.cancel([prompt])
                if answer.ended is not None:
                    running.remove(prompt)
        for prompt in rows:
            text = direct.loaded.tokenizer.decode(direct.answers[prompt].tokens)
            assert prompt.constraint is not None
            assert prompt.constraint.complete, text
            texts.append(text)
    return texts


def test_answers_in_a_format_are_complete_and_valid(
    direct: Direct, numbers: range, temperature: float
) -> None:
    schemas: list[Any] = [random_schema(random.Random(f"schema {n}")) for n in numbers]
    options: dict[str, Any] = {"max_tokens": MOST_TOKENS, "temperature": temperature}
    prompts = []
    for number, described in zip(numbers, schemas, strict=True):
        asked = {"type": "json_schema", "json_schema": {"schema": described}}
        form = msgspec.convert(asked, ResponseFormat)
        prompts.append(direct.prepare("A city:", response_format=form, seed=number, **options))
    for described, text in zip(schemas, whole(direct, prompts), strict=True):
        assert jsonschema_rs.is_valid(described, json.loads(text)), (described, text)


def test_required_calls_are_complete_and_valid(
    direct: Direct, numbers: range, temperature: float, request: pytest.FixtureRequest
) -> None:
    @functools.cache
    def setting(name: str) -> Setting:
        loaded = direct.loaded
        return Setting(name, loaded.tokenizer, direct.info.vocab_size, loaded.eos_ids)

    every = request.config.getoption("--families", False)
    names = list(FORMS)
    asked: list[tuple[str, Tool]] = []
    prompts = []
    for number in numbers:
        parameters = random_object(random.Random(f"tool {number}"))
        tool = Tool(name=f"tool-{number}", parameters=parameters)
        for name in names if every else [names[number % len(names)]]:
            prompt = direct.prepare(
                "Call:", max_tokens=MOST_TOKENS, temperature=temperature, seed=number
            )
            prompt.constraint = setting(name).constraint(tool)
            asked.append((name, tool))
            prompts.append(prompt)
    for (name, tool), text in zip(asked, whole(direct, prompts), strict=True):
        arguments = setting(name).arguments_in(tool, text)
        problem = ArgumentChecks(Tools([tool])).problem(tool.name, arguments)
        assert problem is None, (name, tool.parameters, text, problem)
