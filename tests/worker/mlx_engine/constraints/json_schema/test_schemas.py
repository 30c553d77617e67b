"""A schema is enforced whole or refused at the keyword that can't be; a lenient one is validated."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.constraints.json_schema.validation import Validator
from mlxwire_worker.mlx_engine.constraints.vocabulary import Vocabulary

from .compiled import accepts

DRAFT7 = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"}
OPEN = {"properties": {"a": {"type": "integer"}}}
ONE_OF = {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}


def one_of_values(*values: Any) -> dict[str, Any]:
    return {"oneOf": [{"required": ["k"], "properties": {"k": {"const": v}}} for v in values]}


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        (OPEN, '{"a":1}', '{"\\u0061":"x"}'),
        ({"properties": {"a": False}}, '{"b":1}', '{"\\u0061":1}'),
        ({"type": "string", "format": "date"}, '"2024-02-29"', '"2023-02-29"'),
        ({"type": "string", "format": "date"}, '"2000-02-29"', '"1900-02-29"'),
        ({"format": "date", "pattern": "^2"}, '"2024-02-29"', '"2023-02-29"'),
        ({"type": "string", "format": "time"}, '"22:59:59Z"', '"22:59:60Z"'),
        ({"format": "date-time"}, '"2024-02-29T01:02:03Z"', '"2023-02-29T01:02:03Z"'),
        ({"type": "string", "pattern": "^\\S$"}, '"x"', '"\ufeff"'),
        ({"type": "array", "prefixItems": [{"type": "null"}], "additionalItems": False}, "[null]", "[1]"),
        ({"type": "array", "items": [{"type": "null"}], "additionalItems": False}, "[null]", "[1]"),
        ({"type": "string", "format": "hostname"}, '"a-b.example"', '"ab--c.example"'),
        ({"type": "string", "format": "hostname"}, f'"{"a" * 63}.b"', f'"{"a" * 64}.b"'),
        ({"type": "string", "format": "hostname"}, f'"{"ab." * 84}c"', f'"{"ab." * 84}cd"'),
        ({"type": "string", "format": "email"}, f'"{"a" * 64}@b.c"', f'"{"a" * 65}@b.c"'),
        ({"type": "string", "format": "email"}, '"a.b@c-d.example"', '"a@xn--x"'),
        ({"type": "string", "format": "email", "maxLength": 5}, '"a@b.c"', '"a@b.cd"'),
        ({"type": "string", "format": "json-pointer"}, '"/a~1b//~0"', '"/a~2"'),
        ({"type": "string", "format": "json-pointer"}, '""', '"a"'),
        ({"type": "string", "format": "relative-json-pointer"}, '"10/a"', '"01"'),
        ({"type": "string", "format": "relative-json-pointer"}, '"0#"', '"/a"'),
        (DRAFT7 | {"contentEncoding": "base64"}, '"YWI="', '"YWI%"'),
        (True, '{"a":[1]}', '{"a":'),
        (ONE_OF, '{"a":1}', '"x"'),
        (ONE_OF, '{"b":1}', '[1]'),
        (ONE_OF, '{"b":1}', '{"b":1,"a":1}'),
        (one_of_values(1, True), '{"k":true}', "null"),
        ({"type": "array", "minItems": 1.0, "maxItems": 2.0}, "[1]", "[]"),
        ({"type": "string", "maxLength": 1.0}, '"a"', '"ab"'),
        ({"properties": {"b": {}}, "minProperties": 1, "maxProperties": 1}, '{"b":1}', '{"b":1,"c":2}'),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_strict_takes_instances_only(
    vocabulary: Vocabulary, schema: Any, valid: str, invalid: str
) -> None:
    assert accepts(vocabulary, schema, valid)
    assert not accepts(vocabulary, schema, invalid)


CHARACTERS = (
    "a",
    "b",
    "0",
    "-",
    "_",
    "[",
    "]",
    "&",
    "~",
    ".",
    " ",
    "\\t",
    "\\n",
    "\\r",
    '\\"',
    "\\\\",
    "\u2028",
    "\xe9",
    "b]",
)
"""Texts of strings, as JSON writes them."""


@pytest.mark.parametrize(
    "pattern",
    [
        '^[^"]$', '^[^"]*$', '^[^"\\\\]$', '^[^-"]$', '^[^\\]"]$', '^[^]"]$', '^[^a"]+$', '^(a|[^"])$', '^[^\\n"]$',
        "^[\\x00-!]$", "^[\\u0000-\\u0021]$", "^[\\x00-\\x7f]$", "^[^\\x00-\\x7f]$", "^\\p{Cc}?$", "^\\P{P}$",
        "^[\\p{L}&]$", "^[^\\P{L}]$", "^.$", "^\\.$", "^[.]$", "^\\\\$", "^[a[b]]$", "^[a&&b]?$", "^[\\w&&a]$", "^[a~~b]$",
        "^[[:alpha:]]$", "^[\\[\\]]$", "^[^\\S]$", "^[\\s\\S]$", "^([^\"\\\\]|\\\\.)$",
    ],
)  # fmt: skip
def test_a_pattern_matches_what_it_does_in_a_schema(
    vocabulary: Vocabulary, pattern: str
) -> None:
    schema = {"type": "string", "pattern": pattern}
    validator = Validator(schema)
    names = {"patternProperties": {pattern: {"type": "null"}}, "additionalProperties": False}
    for character in CHARACTERS:
        text = f'"{character}"'
        assert accepts(vocabulary, schema, text) is validator.accepts(text), text
        assert accepts(vocabulary, names, f"{{{text}:null}}") is validator.accepts(text), text


COUNTED = {"properties": {"a": {}, "b": {}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({**COUNTED, "minProperties": 1}, '{"b":1}', "{}"),
        ({**COUNTED, "dependentRequired": {"a": ["b"]}}, '{"a":1,"b":1}', '{"a":1}'),
        ({**COUNTED, "dependencies": {"a": ["b"]}}, '{"b":1}', '{"a":1}'),
        ({**COUNTED, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, '{"a":1}', '{"a":1,"b":1}'),
    ],
    ids=lambda value: str(value)[:80],
)  # fmt: skip
def test_strict_counts_and_tells_properties_apart(
    vocabulary: Vocabulary, schema: Any, valid: str, invalid: str
) -> None:
    typed = {"type": "object", **schema}
    assert accepts(vocabulary, typed, valid)
    assert not accepts(vocabulary, typed, invalid)


def test_unique_items_that_are_not_asked_for_are_no_keyword(vocabulary: Vocabulary) -> None:
    assert accepts(vocabulary, {"type": "array", "uniqueItems": False}, "[1,1]")


PAIR: dict[str, Any] = {"properties": {"a": {}, "b": {}}, "additionalProperties": False}
KIND = {"properties": {"k": {"enum": ["x", "y"]}, "v": {}}, "required": ["k"]}


@pytest.mark.parametrize(
    ("schema", "texts"),
    [
        (PAIR | {"dependentRequired": {"a": ["b"]}}, ["{}", '{"a":1}', '{"b":1}', '{"a":1,"b":1}']),
        (PAIR | {"dependencies": {"a": ["b"]}}, ["{}", '{"a":1}', '{"b":1}', '{"a":1,"b":1}']),
        (PAIR | {"dependentSchemas": {"a": {"properties": {"b": {"type": "null"}}}}}, ["{}", '{"b":1}', '{"a":1,"b":1}', '{"a":1,"b":null}']),
        (PAIR | {"not": {"required": ["a", "b"]}}, ["{}", '{"a":1}', '{"a":1,"b":1}', "3"]),
        (PAIR | {"not": {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}}, ["{}", '{"a":1}', '{"b":1}']),
        (PAIR | {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, ["{}", '{"a":1}', '{"b":1}', '{"a":1,"b":1}']),
        (
            KIND | {"if": {"properties": {"k": {"const": "x"}}}, "then": {"required": ["v"]}, "else": {"not": {"required": ["v"]}}},
            ['{"k":"x"}', '{"k":"x","v":1}', '{"k":"y"}', '{"k":"y","v":1}'],
        ),
        ({"then": {"type": "null"}}, ["1", "null"]),
        ({"not": {"type": ["null", "number"]}}, ["null", "1", "1.5", '"a"', "[]"]),
        ({"not": {"enum": ["ab", "ac", "", None, True]}}, ['"ab"', '"a"', '"ad"', '"abc"', '""', '"x"', "null", "true", "false", "1", "[]"]),
        ({"type": "string", "not": {"enum": ["a.]", "\xe9", "\n"]}}, ['"a.]"', '"a.}"', '"\xe9"', '"\\n"', '"\\n\\n"', '"\xe8"']),
        ({"type": "string", "not": {"maxLength": 2}}, ['"ab"', '"abc"']),
        ({"type": "array", "not": {"minItems": 0}, "items": {}}, None),
        ({"oneOf": [{"type": "string", "not": {"const": "a"}}, {"const": "a"}, {"type": "number"}]}, ['"a"', '"b"', "1", "null"]),
        ({"type": "string", "not": {"pattern": "a"}}, None),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, None),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_keywords_that_llguidance_does_not_know_are_enforced_whole_or_refused(
    vocabulary: Vocabulary, schema: dict[str, Any], texts: list[str] | None
) -> None:
    if texts is None:
        with pytest.raises(WireError) as refused:
            accepts(vocabulary, schema, "1")
        assert refused.value.data["keyword"] in ("not", "oneOf")
        return
    validator = Validator(schema)
    for text in texts:
        assert accepts(vocabulary, schema, text) is validator.accepts(text), text


LOOP = {"$ref": "#/$defs/a"}
PATTERN = {"type": "string", "pattern": "^a$"}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"properties": {"a": PATTERN, "b": {"type": "string", "pattern": "(?=x)"}}}, "/properties/b/pattern"),
        ({"properties": {"a": {"format": "date"}, "b": {"format": "foo"}}}, "/properties/b/format"),
        ({"$defs": {"unused": {"not": {}}}, "properties": {"b": {"not": {}}}}, "/properties/b/not"),
        ({"allOf": [True, False]}, "/allOf"),
        ({"$ref": "#/$defs/a", "$defs": {"a": False}}, "/$ref"),
        ({"patternProperties": {"a*": {}, "aa*": {"type": "null"}}}, "/patternProperties"),
        ({"maximum": 18446744073709551615}, "/maximum"),
        ({"type": "integer", "multipleOf": 0.123456789}, "/multipleOf"),
        ({"items": {"const": 9007199254740993}}, "/items/const"),
        ({"enum": ["a", {"b": "x\0y"}]}, "/enum"),
        ({"type": "string", "pattern": "^a\\x00b$"}, "/pattern"),
        ({"type": "object", "minProperties": 2}, "/minProperties"),
        ({"required": ["a"], "properties": {"a": LOOP}, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": LOOP}},
         "/properties/a/$ref"),
        ({"items": {"$ref": "#/items"}}, "/items/$ref"),
        (one_of_values(1, 1.0), "/oneOf"),
        (one_of_values([1, True], [1.0, True]), "/oneOf"),
        (
            {"properties": {"a": {"properties": {"b": {}}, "maxProperties": 1}}},
            "/properties/a/maxProperties",
        ),
        ({"type": "string", "pattern": "^a$", "minLength": 2}, "/pattern"),
        (DRAFT7 | {"contentMediaType": "application/json"}, "/contentMediaType"),
        (DRAFT7 | {"contentEncoding": "base32"}, "/contentEncoding"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "/$ref"),
        ({"$schema": "https://example.com/own", "type": "null"}, "/$schema"),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_strict_refuses_at_the_keyword_that_is_to_blame(
    vocabulary: Vocabulary, schema: Any, path: str
) -> None:
    with pytest.raises(WireError) as refused:
        accepts(vocabulary, schema, "{}")

    assert refused.value.data["path"] == path
    assert refused.value.data["keyword"] == path.rsplit("/", 1)[1]


def test_no_text_is_an_instance_of_false(vocabulary: Vocabulary) -> None:
    with pytest.raises(WireError, match="no text is an instance"):
        accepts(vocabulary, False, "{}")


IN_A_CIRCLE = {"type": "object", "properties": {"a": {"$ref": "#n", "required": ["b"]}}}
ANCHORED = {"$defs": {"n": {"$anchor": "n", **IN_A_CIRCLE}}, "$ref": "#n"}


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({"type": "string", "pattern": "^(?=a)..$"}, '"ab"', '"ba"'),
        ({"patternProperties": {"a*": {}, "aa*": {"type": "null"}}}, '{"aa":null}', '{"aa":1}'),
        ({"type": "integer", "multipleOf": 0.123456789}, "0", "1"),
        ({"type": "array", "items": [{"type": "null"}], "uniqueItems": True}, "[null]", "[null,null]"),
        ({"type": "object", "properties": {f"p{n}": {"pattern": f"(?={n})"} for n in range(40)}}, "{}", '{"p3":"x"}'),
        (ANCHORED, '{"a":{"b":1}}', '{"a":{"b":1,"a":3}}'),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_without_strict_the_rest_is_left_to_the_validation(
    vocabulary: Vocabulary, schema: Any, valid: str, invalid: str
) -> None:
    validator = Validator(schema)
    for text in (valid, invalid):
        assert accepts(vocabulary, schema, text, strict=False)
        assert validator.accepts(text) is (text == valid)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"properties": {"a": {"minimum": "x"}}}, "/properties/a/minimum"),
        ({"required": ["a", 5]}, "/required"),
        ({"$ref": "#/$defs/none"}, "/$ref"),
        ({"$schema": "https://example.com/own"}, "/$schema"),
    ],
)
def test_an_invalid_schema_is_refused_at_its_keyword(schema: Any, path: str) -> None:
    with pytest.raises(WireError) as refused:
        Validator(schema)

    assert refused.value.data["path"] == path
