"""Answers as values of a caller's type: schemas, the tiny model, and answers that can't be read."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import jsonschema
import msgspec
import pydantic
import pytest

import mlxwire
from mlxwire import sync
from mlxwire.typed.answer_type import AnswerType
from support.tiny_model import TINY, needs_tiny

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(msgspec.Struct, tag="cat"):
    lives: Annotated[int, msgspec.Meta(ge=1, le=9)]


class Dog(msgspec.Struct, tag="dog"):
    good: bool = True


class Node(msgspec.Struct, rename="camel"):
    is_leaf: bool
    next_node: Node | None = None


class Pair(NamedTuple):
    left: bool
    right: Color


class Options(TypedDict, total=False):
    color: Color
    dark: bool


@dataclass
class Box(Generic[T]):
    content: T


class Moments(msgspec.Struct):
    at: datetime.datetime
    day: datetime.date
    clock: datetime.time


class Shape(pydantic.BaseModel):
    kind: Literal["square"]
    size: int = pydantic.Field(gt=0, lt=5, alias="sideLength")


class Circle(pydantic.BaseModel):
    kind: Literal["circle"]
    tags: set[Literal["big", "small"]] = pydantic.Field(max_length=2)


class Drawing(pydantic.BaseModel):
    main: Annotated[Shape | Circle, pydantic.Field(discriminator="kind")]
    below: Drawing | None = None
    weight: decimal.Decimal = pydantic.Field(ge=0, le=1)
    on: datetime.date


def schema_of(kind: Any) -> Any:
    return AnswerType(kind).response_format["json_schema"]["schema"]


@pytest.mark.parametrize(
    ("kind", "valid", "invalid"),
    [
        (Cat, ['{"type":"cat","lives":9}'], ['{"type":"cat","lives":10}', '{"lives":1}']),
        (Cat | Dog, ['{"type":"dog"}'], ['{"type":"cow"}']),
        (Node, ['{"isLeaf":false,"nextNode":{"isLeaf":true}}'], ['{"is_leaf":true}']),
        (Pair, ['[true,"red"]'], ["[true]", '[true,"red",1]']),
        (Options, ["{}", '{"dark":true}'], ['{"dark":true,"more":1}']),
        (Box[list[int]], ['{"content":[1]}'], ['{"content":["a"]}']),
        (dict[Color, int], ['{"red":1}'], ['{"green":1}']),
        (dict[int, bool], ['{"-3":true}'], ['{"x":true}']),
        (dict[datetime.date, int], ['{"2024-02-29":1}'], ['{"2023-02-29":1}', '{"x":1}']),
        (datetime.datetime, ['"2024-02-29T10:00:00"'], ['"soon"', '"2023-02-29T10:00:00"']),
        (datetime.timedelta, ['"P1DT2H"'], ['"P1Y"', '"P"']),
        (set[int], ["[1,1]"], ['["a"]']),
        (bytes, ['"aGk="'], ['"aGk"']),
        (decimal.Decimal, ['"1.50"'], ['"one"']),
        (Literal["a", 1, None], ['"a"', "1", "null"], ["2"]),
        (Shape, ['{"kind":"square","sideLength":4}'], ['{"kind":"square","size":4}']),
        (Circle, ['{"kind":"circle","tags":["big"]}'], ['{"kind":"circle"}']),
        (list[Shape], ["[]"], ["[{}]"]),
        (pydantic.TypeAdapter(dict[int, bool]), ['{"1":true}'], ['{"x":true}']),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_schema_accepts_what_its_type_does(
    kind: Any, valid: list[str], invalid: list[str]
) -> None:
    validator = jsonschema.Draft202012Validator(schema_of(kind))
    for text in valid:
        assert validator.is_valid(json.loads(text)), text
        AnswerType(kind).parse(text, complete=True, finish_reason="stop")
    for text in invalid:
        assert not validator.is_valid(json.loads(text)), text


@pytest.mark.parametrize("kind", [object, Box[object], dict[str, print], "Node"], ids=str)
async def test_a_type_without_a_schema_is_refused_before_anything_is_sent(
    memory: Any, kind: Any
) -> None:
    worker = await memory()
    with pytest.raises(mlxwire.InvalidParams) as caught:
        worker.model.generate("p", response_model=kind)
    assert caught.value.field == "response_model"


async def test_a_type_and_a_format_together_are_refused(memory: Any) -> None:
    worker = await memory()
    for send in (worker.model.generate, worker.model.chat):
        with pytest.raises(mlxwire.InvalidParams, match="leave one of them out"):
            send("p", response_model=Cat, response_format={"type": "json_object"})
    with pytest.raises(mlxwire.InvalidParams, match="leave one of them out"):
        worker.model.batch(["p"], response_model=Cat, response_format={"type": "json_object"})


async def test_tokens_may_be_taken_before_the_value(memory: Any) -> None:
    worker = await memory()
    stream = worker.model.chat("p", response_model=Cat)
    async with stream:
        request = await worker.process.request("chat")
        assert request["response_format"] == AnswerType(Cat).response_format
        worker.tokens(request["id"], '{"type":"cat",', '"lives":7}')
        first = await anext(stream)
        worker.done(request["id"], complete=True)
        assert await stream.parsed() == await stream.parsed() == Cat(lives=7)
    assert first.text == '{"type":"cat",'


@pytest.mark.parametrize(
    ("text", "complete", "reason", "words"),
    [
        ('{"type":"cat","li', False, "length", "max_tokens"),
        ('{"type":"cat","li', False, "stop", "leave out `stop`"),
        ('{"type":"cat","lives":0}', True, "stop", "not a valid"),
        ("no JSON", None, "stop", "not a valid"),
    ],
)
async def test_an_answer_that_is_no_value_is_an_error_with_its_text(
    memory: Any, text: str, complete: bool | None, reason: str, words: str
) -> None:
    worker = await memory()
    async with worker.model.chat("p", response_model=Cat) as stream:
        request = await worker.process.request("chat")
        worker.tokens(request["id"], text)
        worker.done(request["id"], reason, complete=complete)
        with pytest.raises(mlxwire.InvalidAnswer, match=words) as caught:
            await stream.parsed()
    error = caught.value
    assert (error.text, error.complete, error.finish_reason) == (text, complete, reason)


async def test_a_worker_that_knows_no_format_refuses_it_by_name(memory: Any) -> None:
    worker = await memory()
    async with worker.model.chat("p", response_model=Cat) as stream:
        request = await worker.process.request("chat")
        worker.error(request["id"], "invalid_params", field="response_format")
        with pytest.raises(mlxwire.InvalidParams) as caught:
            await stream.parsed()
    assert caught.value.field == "response_format"


@pytest.fixture(scope="module")
def model() -> Any:
    with sync.Worker() as worker:
        yield worker.load(TINY, warmup=False)


@needs_tiny
@pytest.mark.parametrize(
    "kind", [Cat | Dog, Node, Pair, Options, Box[bool], Moments, Drawing, set[Color]], ids=str
)
def test_the_tiny_model_answers_with_values(model: Any, kind: Any) -> None:
    for seed in range(3):
        stream = model.chat(
            "Hello", response_model=kind, max_tokens=400, temperature=1.5, seed=seed
        )
        stream.text()
        if stream.done.complete:  # a list may have no end
            stream.parsed()


@needs_tiny
def test_each_result_of_a_batch_has_its_value(model: Any) -> None:
    results = model.batch(["a", "b"], response_model=Cat, max_tokens=60).results()
    assert all(isinstance(result.parsed(), Cat) for result in results)
    (cut,) = model.batch(["a"], response_model=Cat, max_tokens=2).results()
    with pytest.raises(mlxwire.InvalidAnswer):
        cut.parsed()


@needs_tiny
def test_what_strict_mode_cannot_enforce_is_refused_by_keyword(model: Any) -> None:
    kind = Annotated[str, msgspec.Meta(pattern="^(?=a)b")]
    with pytest.raises(mlxwire.InvalidParams) as caught:
        model.generate("a", response_model=kind).parsed()
    assert caught.value.data["keyword"] == "pattern"
