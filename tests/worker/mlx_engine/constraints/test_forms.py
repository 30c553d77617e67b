"""An answer has the form that its request asked for, whole, and its neighbours do not change."""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import numpy as np
import pytest

from mlxwire_protocol import WireError
from mlxwire_protocol.formats import ResponseFormat
from mlxwire_worker.mlx_engine.constraints.grammars import compile_grammar
from mlxwire_worker.mlx_engine.constraints.json_schema.validation import Validator
from mlxwire_worker.mlx_engine.constraints.vocabulary import Vocabulary
from mlxwire_worker.prompts import Prompt
from support.direct import Direct
from support.model_worker import ModelWorker
from support.odd_schemas import random_schema
from support.tiny_model import TINY
from zoo.builder import build

STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
PROMPTS = ("What is 2 + 3?", "Tell me a story about a cat.", "The capital of France is")


@pytest.fixture(scope="module")
def tiny() -> Iterator[Direct]:
    direct = Direct(TINY)
    yield direct
    direct.close()


def form(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def schema(described: Any, **fields: Any) -> dict[str, Any]:
    return form("json_schema", json_schema={"schema": described, **fields})


def ended(direct: Direct, *prompts: Prompt) -> list[str]:
    """Run prompts together until each text has ended as the worker ends it; return the texts."""
    for prompt in prompts:
        direct.add(prompt)
    running = list(prompts)
    while running:
        direct.step()
        for prompt in running[:]:
            answer = direct.answers[prompt]
            assert answer.error is None, answer.error
            whole = prompt.constraint is not None and prompt.constraint.ended
            if answer.ended is None and whole:
                direct.cancel([prompt])
            if answer.ended is not None or whole:
                running.remove(prompt)
    decode = direct.loaded.tokenizer.decode
    return [decode(direct.answers[prompt].tokens) for prompt in prompts]


def prepared(direct: Direct, prompt: str, response_format: Any, **options: Any) -> Prompt:
    converted = msgspec.convert(response_format, ResponseFormat)
    return direct.prepare(prompt, response_format=converted, **options)


FORMS: tuple[tuple[dict[str, Any], str], ...] = (
    (form("regex", regex="[0-9]{3}-[a-z]{2,4}"), "[0-9]{3}-[a-z]{2,4}"),
    (form("grammar", grammar='start: "a" ("b" | "c"){1,4} "d"', syntax="lark"), "a[bc]+d"),
    (form("grammar", grammar='root ::= "yes" | "no"', syntax="gbnf"), "yes|no"),
    (schema({"type": "integer", "minimum": 10, "maximum": 12}), "1[012]"),
    (schema({"enum": ["red", "green"]}), '"red"|"green"'),
    (
        schema({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"],
                "additionalProperties": False}),
        '{"a":1}',
    ),
)  # fmt: skip


@pytest.mark.parametrize(("asked", "expected"), FORMS, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 1.5, "seed": 3}], ids=["greedy", "hot"]
)
def test_a_text_has_its_form(
    tiny: Direct, asked: dict[str, Any], expected: str, sampling: dict[str, Any]
) -> None:
    for text in ended(tiny, *(prepared(tiny, p, asked, **sampling) for p in PROMPTS)):
        pattern = re.escape(expected) if expected.startswith("{") else expected
        assert re.fullmatch(pattern, text), text


FORCED = ("<think>", "a </tool_call>b", "<|im_end|>")


def spelled(forced: str) -> tuple[tuple[dict[str, Any], str], ...]:
    """Return formats that leave no choice but a text with `forced`, and that text."""
    named = {"type": "object", "properties": {forced: {"type": "null"}}, "required": [forced],
             "additionalProperties": False}  # fmt: skip
    quoted = json.dumps(forced)
    return (
        (schema({"const": forced}), quoted),
        (schema({"enum": [forced]}), quoted),
        (schema({"type": "string", "pattern": f"^{re.escape(forced)}$"}), quoted),
        (schema({"const": forced}, strict=False), quoted),
        (schema(named), f"{{{quoted}:null}}"),
        (form("regex", regex=re.escape(forced)), forced),
        (form("grammar", grammar=f"start: {quoted}", syntax="lark"), forced),
        (form("grammar", grammar=f"root ::= {quoted}", syntax="gbnf"), forced),
    )


@pytest.mark.parametrize("forced", FORCED)
def test_forced_text_that_spells_a_control_token_comes_in_other_tokens(
    tiny: Direct, forced: str
) -> None:
    control = set(tiny.loaded.tokenizer.added_ids.values())
    for asked, expected in spelled(forced):
        prompt = prepared(tiny, "x", asked)
        assert ended(tiny, prompt) == [expected], asked
        assert not control & set(tiny.answers[prompt].tokens), asked


def test_a_grammar_names_a_control_token_without_quotes(tiny: Direct) -> None:
    lark = 'start: <think> " <think> " /[<]think>/ </think>  // <think>\n'
    prompt = prepared(tiny, "x", form("grammar", grammar=lark, syntax="lark"))

    (text,) = ended(tiny, prompt)
    assert re.fullmatch("<think> <think> <think></think>", text)
    tokens = tiny.answers[prompt].tokens
    ids = tiny.loaded.tokenizer.added_ids
    assert (tokens[0], tokens[-1]) == (ids["<think>"], ids["</think>"])
    assert not set(ids.values()) & set(tokens[1:-1])


def test_plain_neighbours_do_not_change_by_a_byte(tiny: Direct) -> None:
    options: dict[str, Any] = {"max_tokens": 24, "ignore_eos": True, "temperature": 0.9}
    plain = [tiny.prepare(p, seed=n, **options) for n, p in enumerate(PROMPTS)]
    expected = ended(tiny, *plain)
    asked = form("regex", regex="[a-z ]{8,40}")
    mixed = []
    for number, prompt in enumerate(PROMPTS):
        mixed.append(tiny.prepare(prompt, seed=number, **options))
        mixed.append(prepared(tiny, prompt, asked, max_tokens=50))

    assert ended(tiny, *mixed)[::2] == expected


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_answers_under_two_hundred_schemas_are_instances(tiny: Direct, start: int) -> None:
    for number in range(start, start + 50):
        described = random_schema(random.Random(number))
        white = "flexible" if number % 7 == 0 else "compact"
        asked = {**schema(described), "whitespace": white}
        hot = {"temperature": 1.2, "seed": number} if number % 2 else {}
        prompt = prepared(tiny, PROMPTS[number % 3], asked, max_tokens=400, **hot)
        (text,) = ended(tiny, prompt)
        assert prompt.constraint is not None
        if prompt.constraint.complete:
            assert jsonschema_rs.is_valid(described, json.loads(text)), (described, text)
        else:
            assert len(tiny.answers[prompt].tokens) == 400, (described, text)
        if white == "compact" and prompt.constraint.complete:
            assert not re.search(r"\s", STRINGS.sub("", text)), text


@pytest.mark.parametrize(
    ("described", "keyword", "path"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems", "/uniqueItems"),
        ({"properties": {"a": {"not": {}}}}, "not", "/properties/a/not"),
        ({"$defs": {"x/y": {"contains": 1}}, "$ref": "#/$defs/x~1y"}, "contains", "/$defs/x~1y/contains"),
        ({"items": [{}, {"type": "string", "format": "foo"}]}, "format", "/items/1/format"),
        ({"properties": {"not": {"type": "string", "pattern": "(?=a)b"}}}, "pattern", "/properties/not/pattern"),
        ({"$ref": "https://example.com/schema"}, "$ref", "/$ref"),
    ],
)  # fmt: skip
def test_a_schema_that_cant_be_enforced_is_refused_with_its_keyword_and_path(
    tiny: Direct, described: Any, keyword: str, path: str
) -> None:
    with pytest.raises(WireError) as refused:
        prepared(tiny, "x", schema(described))

    told = refused.value.data
    assert (told["field"], told["keyword"], told["path"]) == (
        "response_format.json_schema.schema",
        keyword,
        path,
    )


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (form("regex", regex="(a"), "response_format.regex"),
        (form("grammar", grammar="start: ("), "response_format.grammar"),
        (form("grammar", grammar="not a grammar", syntax="gbnf"), "response_format.grammar"),
        (schema({"type": "nonsense"}), "response_format.json_schema.schema"),
        (schema({"type": "object", "properties": 5}), "response_format.json_schema.schema"),
        (schema({"enum": ["x" * 300_000]}), "response_format.json_schema.schema"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_format_that_is_none_or_too_large_is_refused(
    tiny: Direct, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(WireError) as refused:
        prepared(tiny, "x", asked)

    assert (refused.value.code, refused.value.data["field"]) == ("invalid_params", field)


@pytest.mark.parametrize(
    ("asked", "told", "never"),
    [
        (form("regex", regex="[^\\s\\S]"), "no token can come next;", "Tokens"),
        (form("grammar", grammar="start: <|nothere|>"), "<|im_end|>", "[0-9a-f]{32}"),
    ],
    ids=["dump", "names"],
)
def test_an_error_of_the_compiler_is_told_in_words_that_its_reader_knows(
    tiny: Direct, asked: dict[str, Any], told: str, never: str
) -> None:
    with pytest.raises(WireError) as refused:
        prepared(tiny, "x", asked)

    assert told in refused.value.message
    assert not re.search(never, refused.value.message)


def test_no_schema_opens_a_socket(tiny: Direct, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    remote = {"$ref": "http://127.0.0.1:9/schema"}
    for strict in (True, False):
        with pytest.raises(WireError):
            prepared(tiny, "x", schema(remote, strict=strict))
    with pytest.raises(WireError, match="is not fetched"):
        Validator(remote)


def test_a_pattern_that_backtracks_is_validated_in_no_time() -> None:
    validator = Validator({"type": "string", "pattern": "^(a+)+$"})

    assert not validator.accepts(json.dumps("a" * 5000 + "!"))


def test_without_strict_the_text_is_validated(tiny: Direct) -> None:
    described = {"type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 2}
    for unique, valid in ((False, True), (True, False)):
        asked = schema({**described, "uniqueItems": unique}, strict=False)
        prompt = prepared(tiny, "x", asked)
        (text,) = ended(tiny, prompt)
        assert text == "[1,1]"
        assert prompt.constraint is not None
        assert prompt.constraint.valid(text) is valid


def test_a_stop_token_waits_until_the_text_is_whole(tiny: Direct) -> None:
    digits = tiny.loaded.tokenizer.encode("7", add_special_tokens=False)
    asked = form("regex", regex="[0-9]{4}x")
    prompt = prepared(tiny, "x", asked, stop_tokens=digits)
    (text,) = ended(tiny, prompt)

    assert re.fullmatch("[0-9]{4}x", text)
    assert "7" not in text


def test_stop_tokens_that_leave_no_way_on_end_their_own_request(tiny: Direct) -> None:
    plain = tiny.prepare("Hello", max_tokens=8, ignore_eos=True)
    stuck = prepared(
        tiny, "x", form("regex", regex="77"), stop_tokens=list(range(tiny.info.vocab_size))
    )
    answers = tiny.run([plain, stuck])

    assert isinstance(answers[1].error, WireError)
    assert answers[1].error.data["field"] == "response_format"
    assert len(answers[0].tokens) == 8


def test_the_worker_tells_if_the_text_is_whole(worker: ModelWorker) -> None:
    worker.use(TINY)
    asked = form("regex", regex="[a-z]{30}")
    whole = worker.ask("generate", prompt="x", response_format=asked, max_tokens=99)
    cut = worker.ask("chat", messages=[{"role": "user", "content": "x"}],
                     response_format=asked, max_tokens=2)  # fmt: skip
    stopped = worker.ask("generate", prompt="x", stop=list("abcdefghijklmnopqrstuvwxyz"),
                         response_format=asked, max_tokens=99)  # fmt: skip
    lenient = schema({"const": 5}, strict=False)
    judged = worker.ask("generate", prompt="x", response_format=lenient)
    plain = worker.ask("generate", prompt="x", response_format=form("text"), max_tokens=2)

    assert (whole["finish_reason"], whole["complete"], whole["schema_valid"]) == (
        "stop",
        True,
        None,
    )
    assert (cut["finish_reason"], cut["complete"]) == ("length", False)
    assert (stopped["finish_reason"], stopped["complete"]) == ("stop", False)
    assert (judged["complete"], judged["schema_valid"]) == (True, True)
    assert "complete" not in plain


def test_formats_that_are_equal_as_objects_are_not_taken_for_each_other(
    worker: ModelWorker,
) -> None:
    worker.use(TINY)
    answers = [
        worker.generate("x", response_format=schema(described), max_tokens=40)[0]
        for described in ({"const": 1}, {"const": True}, {"enum": [0]}, {"enum": [False]})
    ]

    assert answers == ["1", "true", "0", "false"]


def test_each_item_of_a_batch_tells_its_form(worker: ModelWorker) -> None:
    worker.use(TINY)
    asked = schema({"enum": ["yes", "no"]})
    request = worker.send("batch", prompts=list(PROMPTS), response_format=asked)
    worker.final(request)
    items = [m for m in worker.messages[request] if m["type"] == "item"]

    assert {item["text"] for item in items} <= {'"yes"', '"no"'}
    assert all(item["complete"] and item["finish_reason"] == "stop" for item in items)


def test_grammars_of_a_large_vocabulary_compile(tiny: Direct) -> None:
    vocabulary = Vocabulary(tiny.loaded.tokenizer, tiny.info.vocab_size, [0])
    asked = msgspec.convert(form("json_object"), ResponseFormat)

    assert compile_grammar(asked, vocabulary)


def test_a_form_survives_the_failure_of_a_neighbour(tiny: Direct) -> None:
    asked = form("regex", regex="[a-z]{3}( [a-z]{3}){6}")
    held = prepared(tiny, PROMPTS[1], asked, max_tokens=60, temperature=0.8, seed=5)
    (expected,) = ended(tiny, held)
    again = prepared(tiny, PROMPTS[1], asked, max_tokens=60, temperature=0.8, seed=5)
    broken = tiny.prepare("Hello", max_tokens=60, ignore_eos=True)
    tiny.add(broken)
    tiny.add(again)
    while len(tiny.answers[again].tokens) < 4:
        tiny.step()

    def fail(*_: object) -> None:
        raise ValueError("made up")

    for row in tiny.runner._batch.rows:
        if row.prompt is broken:
            row.processor = fail  # type: ignore[assignment]
    tiny.runner._batch._sampler._regroup()
    while not (again.constraint is not None and again.constraint.ended):
        tiny.step()
        assert tiny.answers[again].error is None
    tiny.cancel([again])

    assert isinstance(tiny.answers[broken].error, ValueError)
    assert tiny.loaded.tokenizer.decode(tiny.answers[again].tokens) == expected


@pytest.mark.parametrize("animal", ["mamba", "gpt_oss", "afm7"])
def test_models_of_other_kinds_hold_a_form(animal: str, tmp_path: Path) -> None:
    direct = Direct(build(animal, tmp_path))
    try:
        asked = form("regex", regex="[0-9]{2,5}x")
        prompts = [prepared(direct, prompt, asked, max_tokens=40) for prompt in PROMPTS]
        for text in ended(direct, *prompts):
            assert re.fullmatch("[0-9]{2,5}x", text)
    finally:
        direct.close()


@pytest.mark.parametrize(
    ("described", "pushed", "expected"),
    [
        ({"type": "number"}, "1e999", "1e99"),
        ({"type": "number"}, "-3.5E+07777", "-3.5E+07"),
        ({"type": "array", "items": {}, "maxItems": 1}, "[1e999", "[1e99]"),
        ({"type": "integer"}, "7" * 900, "7" * 200),
        ({"type": "number"}, "0." + "3" * 900, "0." + "3" * 200),
        ({"type": "string"}, '"1e999"', '"1e999"'),
        ({"const": "1e999"}, '"1e999"', '"1e999"'),
        ({"const": 1e-200}, "1e-200", f"{1e-200:.200f}"),
        ({"type": "string", "pattern": "^[0-9a-f]{8}$"}, '"550e8400"', '"550e8400"'),
    ],
    ids=lambda value: str(value)[:30],
)
def test_numbers_have_no_more_digits_than_parsers_take(
    tiny: Direct, described: Any, pushed: str, expected: str
) -> None:
    """Push a text as a model would that gives each next character the highest logit."""
    loaded = tiny.loaded
    prompt = prepared(tiny, "x", schema(described))
    constraint = prompt.constraint
    assert constraint is not None
    size = tiny.info.vocab_size
    row = np.zeros(-(-size // 32), dtype=np.int32)
    wanted, taken = pushed, list[int]()
    while True:
        constraint.follow(taken)
        if constraint.ended:
            break
        constraint.fill(row, row.ctypes.data)
        allowed = {
            n for n in range(size) if row.view(np.uint32)[n // 32] >> np.uint32(n % 32) & 1
        }
        single = {loaded.tokenizer.text_of(n): n for n in sorted(allowed, reverse=True)}
        if wanted and wanted[0] in single:
            taken.append(single[wanted[0]])
        else:
            end = next((n for n in sorted(loaded.eos_ids) if n in allowed), None)
            if end is not None:
                break
            taken.append(min(allowed, key=lambda n: (len(loaded.tokenizer.text_of(n)), n)))
        wanted = wanted[1:]
    assert loaded.tokenizer.decode(taken) == expected
