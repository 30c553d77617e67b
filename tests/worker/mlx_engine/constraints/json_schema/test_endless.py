"""A schema that requires itself without an end is refused, and a part that does is never begun."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.constraints.json_schema.endless import without_endless
from mlxwire_worker.mlx_engine.constraints.vocabulary import Vocabulary

from .compiled import accepts, begins

NODE: dict[str, Any] = {
    "type": "object",
    "properties": {"next": {"$ref": "#/$defs/node"}, "v": {}},
    "required": ["next"],
    "additionalProperties": False,
}
DEFS = {"$defs": {"node": NODE}}
A_REQUIRES_B = {
    "type": "object",
    "properties": {"b": {"$ref": "#/$defs/b"}},
    "required": ["b"],
}
B_HOLDS_A = {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({**DEFS, "$ref": "#/$defs/node"}, "/$defs/node/properties/next/$ref"),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "/items/$ref"),
        ({"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1}, "/prefixItems/0/$ref"),
        ({"$defs": {"a": A_REQUIRES_B, "b": B_HOLDS_A}, "$ref": "#/$defs/a"}, "/$defs/a/properties/b/$ref"),
        ({**DEFS, "anyOf": [{"$ref": "#/$defs/node"}, NODE]}, "/$defs/node/properties/next/$ref"),
        ({**DEFS, "allOf": [{}, {"$ref": "#/$defs/node"}]}, "/$defs/node/properties/next/$ref"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_without_a_finite_text_is_refused_where_it_leads_back(
    vocabulary: Vocabulary, schema: Any, path: str, strict: bool
) -> None:
    with pytest.raises(WireError) as refused:
        accepts(vocabulary, schema, "null", strict=strict)

    assert refused.value.code == "invalid_params"
    assert refused.value.data["path"] == path
    assert "set `strict`" not in refused.value.message


@pytest.mark.parametrize(
    ("schema", "whole", "begun"),
    [
        ({**DEFS, "anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}, "null", '{"next":'),
        ({**DEFS, "type": "object", "properties": {"n": {"$ref": "#/$defs/node"}}}, "{}", '{"n":'),
        ({**DEFS, "type": "array", "items": {"$ref": "#/$defs/node"}}, "[]", "[{"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
@pytest.mark.parametrize("strict", [True, False])
def test_a_part_without_a_finite_text_is_never_begun(
    vocabulary: Vocabulary, schema: Any, whole: str, begun: str, strict: bool
) -> None:
    assert accepts(vocabulary, schema, whole, strict=strict)
    assert not begins(vocabulary, schema, begun, strict=strict)


@pytest.mark.parametrize(
    "schema",
    [
        {**DEFS, "type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"type": ["object", "null"], "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        {"properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 0},
        {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#"}, "minItems": 1}]},
        {"type": "object", "required": ["a"], "properties": {"b": {"$ref": "#"}}},
        {"type": "object", "enum": [{"a": 1}], "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    ],
    ids=lambda value: str(value)[:70],
)  # fmt: skip
def test_a_schema_with_finite_texts_stays_as_it_is(schema: Any) -> None:
    changed = without_endless(schema)
    used = {name: value for name, value in changed.items() if name != "$defs"}

    assert used == {name: value for name, value in schema.items() if name != "$defs"}


def test_a_long_chain_of_references_is_followed_to_its_end() -> None:
    count = 3000
    chain = {
        str(n): {
            "type": "object",
            "properties": {"n": {"$ref": f"#/$defs/{n + 1}"}},
            "required": ["n"],
        }
        for n in range(count)
    }
    schema = {"$ref": "#/$defs/0", "$defs": {**chain, str(count): {"type": "null"}}}

    assert without_endless(schema) is schema
