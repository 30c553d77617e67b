"""A schema that llguidance refuses is rewritten where it can be, and is enforced whole then."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mlxwire_protocol import WireError
from mlxwire_protocol.formats import ResponseFormat
from mlxwire_worker.mlx_engine.constraints.grammars import compile_grammar
from mlxwire_worker.mlx_engine.constraints.json_schema.validation import Validator
from mlxwire_worker.mlx_engine.constraints.vocabulary import Vocabulary
from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer
from support.tiny_model import TINY

TOKENIZER = Tokenizer.from_folder(TINY)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(TOKENIZER, TOKENIZER.size, [0])


def accepts(vocabulary: Vocabulary, schema: Any, text: str, *, strict: bool = True) -> bool:
    """Return True if a text is whole under the grammar of a schema."""
    shape = {"type": "json_schema", "json_schema": {"schema": schema, "strict": strict}}
    matcher = compile_grammar(msgspec.convert(shape, ResponseFormat), vocabulary)
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


OLD = {"$schema": "http://json-schema.org/draft-07/schema#"}
TREE = {
    "type": "object",
    "additionalProperties": {"minProperties": 1, "anyOf": [{"type": "null"}, {"$ref": "#/$defs/tree"}]},
}  # fmt: skip
ROUTE = {
    "oneOf": [
        {"properties": {"by": {"enum": ["car"]}, "seats": {"$ref": "#/$defs/count"}}},
        {"properties": {"by": {"enum": ["foot"]}, "seats": False}},
    ]
}
TYPES = {
    "text": {"type": "string"},
    "list": {"type": "array", "items": {"$ref": "#/$defs/value"}},
}
THREE = {"properties": {"a": {}, "b": {}, "c": {}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "texts"),
    [
        ({"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}}, ["{}", '{"a":1}', '{"A":1}', '{"a":1,"b2":1}']),
        (
            {"type": "object", "propertyNames": {"pattern": "^a"}, "properties": {"ab": {"type": "null"}, "b": {}}},
            ['{"ab":null}', '{"ab":1}', '{"b":1}', '{"ac":1}', '{"c":1}'],
        ),
        (
            {"type": "object", "propertyNames": {"pattern": "^a"}, "patternProperties": {"^a": {"type": "null"}}},
            ['{"ab":null}', '{"ab":1}', '{"b":null}'],
        ),
        (
            {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "null"}},
            ["{}", '{"a":null}', '{"a":1}', '{"b":null}', '{"c":null}'],
        ),
        ({"type": "object", "propertyNames": {"minLength": 2, "maxLength": 3}}, ['{"a":1}', '{"a\\n":1}', '{"\xe9\xe9\xe9":1}', '{"abcd":1}']),
        ({"type": "object", **THREE, "maxProperties": 3}, ["{}", '{"a":1,"b":1,"c":1}', '{"d":1}']),
        ({"type": "object", **THREE, "maxProperties": 1}, ["{}", '{"b":1}', '{"a":1,"c":1}', '{"a":1,"b":1,"c":1}']),
        ({"type": "object", **THREE, "maxProperties": 2, "required": ["b"]}, ['{"b":1}', '{"a":1,"b":1}', '{"b":1,"c":1}', '{"a":1,"b":1,"c":1}', '{"a":1}']),
        ({"allOf": [{"enum": [1, 1.5, "a", [2]]}, {"not": {"type": "integer"}}]}, ["1", "1.5", '"a"', "[2]", "[3]"]),
        ({"allOf": [{"const": {"a": 1}}, {"not": {"not": {"$ref": "#/$defs/o"}}}], "$defs": {"o": {"required": ["a"]}}}, ['{"a":1}', '{"a":2}', "{}"]),
        ({**TREE, "$defs": {"tree": TREE}}, ["{}", '{"a":null}', '{"a":{}}', '{"a":{"b":null}}', '{"a":{"b":{}}}', '{"a":{"b":{"c":null}}}', '{"a":1}']),
        (
            {"$ref": "#/$defs/value", "$defs": {**TYPES, "value": {"oneOf": [{"$ref": "#/$defs/text"}, {"$ref": "#/$defs/list"}]}}},
            ['"a"', "[]", '["a",["b"]]', "[1]", "1", "[[1]]"],
        ),
        (
            {"type": "object", "dependencies": {"by": ROUTE}, "$defs": {"count": {"type": "integer"}}},
            ["{}", '{"by":"car","seats":4}', '{"by":"car","seats":"x"}', '{"by":"foot"}', '{"by":"foot","seats":1}', '{"by":"air"}'],
        ),
    ],
    ids=lambda value: str(value)[:70],
)  # fmt: skip
def test_a_rewritten_schema_has_the_same_instances(
    vocabulary: Vocabulary, schema: dict[str, Any], texts: list[str]
) -> None:
    validator = Validator(schema)
    for text in texts:
        assert accepts(vocabulary, schema, text) is validator.accepts(text), text


def test_keywords_beside_a_reference_tell_no_choices_of_an_older_draft_apart(
    vocabulary: Vocabulary,
) -> None:
    """Those keywords have no effect there, so that 5 is an instance of both choices."""
    schema = {
        **OLD,
        "oneOf": [{"$ref": "#/definitions/a", "type": "string"}, {"type": "integer"}],
        "definitions": {"a": {"type": ["string", "integer"]}},
    }

    with pytest.raises(WireError) as refused:
        accepts(vocabulary, schema, "5")

    assert refused.value.data["path"] == "/oneOf"


@pytest.mark.parametrize("kind", ["iri", "uri-reference", "iri-reference"])
def test_references_have_their_format(vocabulary: Vocabulary, kind: str) -> None:
    schema = {"type": "string", "format": kind}
    validator = Validator(schema)
    assert accepts(vocabulary, schema, '"https://a.example:80/b/%41?c=d#e"')
    assert accepts(vocabulary, schema, '"../a?b"') is validator.accepts('"../a?b"')
    for text in (
        "a b",
        "%zz",
        "1:a",
        "a#b#c",
        "//[x/",
        "http://a:b",
        "\\\\",
        "a:b:c",
        "/a//b",
        "",
    ):
        written = f'"{text}"'
        assert validator.accepts(written) or not accepts(vocabulary, schema, written), text


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, "5"),
        ({**TREE, "$defs": {"tree": TREE}}, '{"a":{"b":null}}'),
    ],
)
def test_without_strict_circles_and_large_bounds_can_be_used(
    vocabulary: Vocabulary, schema: dict[str, Any], text: str
) -> None:
    assert accepts(vocabulary, schema, text, strict=False)


def test_keywords_beside_a_reference_of_an_older_draft_have_no_effect(
    vocabulary: Vocabulary,
) -> None:
    beside = {"$ref": "#/definitions/a", "minLength": 2}
    schema = {**OLD, "items": beside, "type": "array", "definitions": {"a": {"type": "string"}}}
    assert accepts(vocabulary, schema, '["x"]')
    assert Validator(schema).accepts('["x"]')
