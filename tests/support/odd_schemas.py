"""Schemas of arguments that tools in the field have, and forms of calls that must carry them."""

from __future__ import annotations

import random
from typing import Any

OPEN = {"type": "object"}
TEXT = {"type": "string", "maxLength": 4}
SMALL = {"type": "integer", "minimum": 0, "maximum": 9}


def of(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    """Return the schema of an object whose properties are all required, unless it is said which."""
    needed = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": needed}


ODD: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no properties": {"type": "object", "additionalProperties": False},
    "an unnamed one is required": {"type": "object", "properties": {}, "required": ["z"]},
    "a reference": {"$ref": "#/$defs/a", "$defs": {"a": of(x=SMALL)}},
    "references inside": {**of(a={"$ref": "#/properties/b"}, b=TEXT)},
    "all of": {"allOf": [of(a=SMALL), of(b=TEXT)], "type": "object"},
    "all of beside": {**of(a=SMALL), "allOf": [{"required": ["b"]}, {"properties": {"b": TEXT}}]},
    "any of": {"anyOf": [of(a=SMALL), of(b=TEXT)]},
    "any required": {**of([], a=SMALL, b=TEXT), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "one of": {**of([], a=SMALL, b=TEXT), "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "one of kinds": {"oneOf": [
        of(kind={"const": "a"}, size=SMALL), of(kind={"const": "b"}, name=TEXT)]},
    "patterns": {"type": "object", "patternProperties": {"^x[0-9]{1,2}$": SMALL},
                 "additionalProperties": False, "maxProperties": 2},
    "others": {"type": "object", "additionalProperties": SMALL, "maxProperties": 2},
    "named and others": {**of(a=SMALL), "additionalProperties": {"type": "boolean"}, "maxProperties": 3},
    "at least": {**of([], a=SMALL, b=SMALL, c=SMALL), "minProperties": 2},
    "at most": {**of([], a=SMALL, b=SMALL, c=SMALL), "maxProperties": 1},
    "dependent": {**of([], a=SMALL, b=SMALL), "dependentRequired": {"a": ["b"]}},
    "constants": of(a={"const": "x"}, b={"const": 3}, c={"const": None}, d={"const": [1, {"k": "v"}]}),
    "choices": of(a={"enum": ["a b", 'say "hi"', "back\\slash"]}, b={"enum": [1, True, None]}),
    "an empty text": of(a={"enum": [""]}, b={"type": "string", "maxLength": 0}),
    "control tokens": of(**{"a": {"const": "<think>"}, "<|im_end": SMALL}),
    "marks of others": of(a={"enum": ["[TOOL_CALLS]", "<|channel|>", "｜DSML"]}),
    "marks within": of(a={"type": "array", "items": {"enum": ["</parameter>", "</arg_value>\n"]},
                         "minItems": 1, "maxItems": 2}),
    "odd names": of(**{"a b": SMALL, "$x": SMALL, "é": TEXT, "a.b-c": SMALL}),
    "numbers": of(a={"type": "number"}, b={"type": "integer"}, c={"type": "number", "multipleOf": 0.5,
                  "minimum": 0, "maximum": 9}),
    "patterned text": of(a={"type": "string", "pattern": "^[a-f]{2,3}$"}, b={"type": "string",
                         "pattern": "^(ab|c/d)\\d"}, c={"type": "string", "pattern": "x$", "maxLength": 3}),
    "formats": of(**{name: {"type": "string", "format": name} for name in ("date", "uuid", "ipv4")}),
    "more patterns": of(a={"type": "string", "pattern": r"^[^\W]{2}$"}, b={"type": "string", "pattern": r"^[$^]\\$"},
                        c={"type": "string", "pattern": "^[a[b&&~~]{2}$"}, d={"type": "string",
                        "pattern": r"^[^\S]\D[^\"]$"}),
    "choices beside others": of(a={"enum": ["a", "bb"], "minLength": 2}, b={"enum": ["ab", "cd"], "pattern": "^a"},
                                c={"enum": [1, 2, 30], "maximum": 5}, d={"enum": ["a", "b"], "not": {"const": "a"}},
                                e={"allOf": [{"enum": ["a", "bb", "cc"]}, {"minLength": 2}, {"pattern": "c"}]}),
    "whole counts": of(a={"type": "array", "items": SMALL, "minItems": 1.0, "maxItems": 2.0}),
    "lengths": of(a={"type": "string", "minLength": 2, "maxLength": 3}),
    "several types": of(a={"type": ["string", "integer"], "maxLength": 3}, b={"type": ["boolean", "null"]}),
    "a text or more": of(a={"anyOf": [TEXT, {"type": "array", "items": SMALL, "maxItems": 2}]}),
    "lists": of(a={"type": "array", "items": SMALL, "minItems": 1, "maxItems": 3},
                b={"type": "array", "prefixItems": [TEXT, SMALL], "items": False, "minItems": 2}),
    "objects": of(a=of(b=of(c=SMALL)), d={"type": "object", "additionalProperties": SMALL, "maxProperties": 1}),
    "recursive": {**of(tree={"$ref": "#/$defs/tree"}), "$defs": {"tree": {
        **of([], leaf=SMALL, next={"$ref": "#/$defs/tree"}), "additionalProperties": False}}},
    "described": {**of(a={"description": "A <b>bold</b> size", "title": "A", "default": 1, **SMALL}),
                  "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "T"},
}  # fmt: skip


def random_schema(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    """Return a schema of what strict mode enforces, whose instances are short."""
    kinds = ["integer", "string", "boolean", "enum", "null", "number", "const"]
    kind = chance.choice([*kinds, *(["object", "array", "anyOf"] * 2 if depth < 3 else [])])
    if kind == "integer":
        low = chance.randint(-50, 50)
        return {"type": "integer", "minimum": low, "maximum": low + chance.randint(0, 90)}
    if kind == "number":
        return {"type": "number", "minimum": 0, "exclusiveMaximum": chance.randint(1, 9)}
    if kind == "string":
        return chance.choice(
            [
                {"type": "string", "maxLength": chance.randint(1, 9)},
                {"type": "string", "pattern": "^[a-f]{2,5}$"},
                {"type": "string", "format": "date"},
            ]
        )
    if kind == "enum":
        return {"enum": chance.sample(["a", "b c", 1, None, True, "\u00fc"], 3)}
    if kind == "const":
        return {"const": chance.choice(["x", 0, [1, 2], {"k": "v"}])}
    if kind == "array":
        least = chance.randint(0, 2)
        items = random_schema(chance, depth + 1)
        return {"type": "array", "items": items, "minItems": least, "maxItems": least + 1}
    if kind == "anyOf":
        return {"anyOf": [random_schema(chance, depth + 1) for _ in range(2)]}
    if kind == "object":
        return random_object(chance, depth)
    return {"type": kind}


def random_object(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    """Return a schema of an object, such as a tool's parameters."""
    names = chance.sample(["id", "name", "tag s", "ok", "\u00e9"], chance.randint(1, 3))
    return {
        "type": "object",
        "properties": {name: random_schema(chance, depth + 1) for name in names},
        "required": names[: chance.randint(0, len(names))],
        "additionalProperties": False,
    }
