"""The JSON Schema of a type that msgspec can decode, of which every instance decodes.

`msgspec.json.schema` leaves objects open, gives a plain string for a naive time, and nothing for
the keys of most dicts; the worker would then let the model write what can't be decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import inspect

from . import patterns

Schema = dict[str, Any]
_FIELDS = (
    inspect.StructType | inspect.DataclassType | inspect.TypedDictType | inspect.NamedTupleType
)
_BYTES = inspect.BytesType | inspect.ByteArrayType | inspect.MemoryViewType
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
}
_SIMPLE: dict[type[inspect.Type], Schema] = {
    inspect.AnyType: {},
    inspect.RawType: {},
    inspect.NoneType: {"type": "null"},
    inspect.BoolType: {"type": "boolean"},
}


def schema_of(kind: Any) -> Schema:
    """Return the schema of a type. Raises: TypeError, or what the type's annotations raise."""
    return _Writer().whole(inspect.type_info(kind))


class _Writer:
    """Writes one schema; each class with fields has its definition, so it may contain itself."""

    def __init__(self) -> None:
        self._names: dict[Any, str] = {}
        self._definitions: dict[str, Schema] = {}

    def whole(self, root: inspect.Type) -> Schema:
        schema = self._schema(root)
        return {**schema, "$defs": self._definitions} if self._definitions else schema

    def _schema(self, info: inspect.Type) -> Schema:
        if type(info) in _SIMPLE:
            return dict(_SIMPLE[type(info)])
        if isinstance(info, inspect.Metadata):
            return {**self._schema(info.type), **(info.extra_json_schema or {})}
        if isinstance(info, inspect.IntType | inspect.FloatType):
            kind = "integer" if isinstance(info, inspect.IntType) else "number"
            return {"type": kind, **_limits(info, _BOUNDS)}
        if isinstance(info, inspect.StrType):
            named = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
            return {"type": "string", **_limits(info, named)}
        if isinstance(info, inspect.EnumType | inspect.LiteralType):
            return {"enum": [*_choices(info)]}
        if isinstance(info, inspect.UnionType):
            return {"anyOf": [self._schema(each) for each in info.types]}
        if isinstance(info, _FIELDS):
            return {"$ref": f"#/$defs/{self._definition(info)}"}
        if isinstance(info, inspect.TupleType):
            return _tuple([self._schema(each) for each in info.item_types], None)
        if isinstance(info, inspect.CollectionType):
            named = {"min_length": "minItems", "max_length": "maxItems"}
            items = self._schema(info.item_type)
            return {"type": "array", "items": items, **_limits(info, named)}
        if hasattr(info, "key_type"):  # DictType; newer versions have another one
            return self._mapping(info)
        pattern = _pattern(info)
        if pattern is None:
            raise TypeError(f"{getattr(info, 'cls', info)} has no JSON that msgspec knows")
        return {"type": "string", "pattern": patterns.whole(pattern)}

    def _mapping(self, info: Any) -> Schema:
        value = self._schema(info.value_type)
        names, keys = _keys(info.key_type)
        schema: Schema = {"type": "object"}
        if names:
            schema["properties"] = dict.fromkeys(names, value)
        if keys:
            schema["patternProperties"] = dict.fromkeys(keys, value)
        schema["additionalProperties"] = False if names or keys else value
        named = {"min_length": "minProperties", "max_length": "maxProperties"}
        return {**schema, **_limits(info, named)}

    def _definition(self, info: Any) -> str:
        if info.cls not in self._names:
            name = getattr(info.cls, "__name__", "") or "Type"
            if name in self._definitions:
                name = f"{name}_{len(self._definitions)}"
            self._names[info.cls] = name
            self._definitions[name] = {}  # the name is taken while the fields refer to it
            self._definitions[name] = self._fields(info)
        return self._names[info.cls]

    def _fields(self, info: Any) -> Schema:
        tag = getattr(info, "tag", None)
        tagged = {} if tag is None else {info.tag_field: {"enum": [tag]}}
        fields = {field.encode_name: self._schema(field.type) for field in info.fields}
        required = [field.encode_name for field in info.fields if field.required]
        if isinstance(info, inspect.NamedTupleType) or getattr(info, "array_like", False):
            return _tuple([*tagged.values(), *fields.values()], len(tagged) + len(required))
        return {
            "type": "object",
            "properties": {**tagged, **fields},
            "required": [*tagged, *required],
            "additionalProperties": False,
        }


def _tuple(items: list[Schema], least: int | None) -> Schema:
    return {
        "type": "array",
        "prefixItems": items,
        "items": False,
        "minItems": len(items) if least is None else least,
        "maxItems": len(items),
    }


def _limits(info: inspect.Type, named: dict[str, str]) -> Schema:
    """Return the constraints of a type by their names in JSON Schema."""
    given = {name: getattr(info, ours) for ours, name in named.items()}
    return {name: value for name, value in given.items() if value is not None}


def _choices(info: inspect.EnumType | inspect.LiteralType) -> Iterable[Any]:
    if isinstance(info, inspect.LiteralType):
        return info.values
    return (member.value for member in info.cls)


def _keys(info: inspect.Type) -> tuple[list[str], list[str]]:
    """Return names and patterns of a dict's keys; neither if any string is a key."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.EnumType | inspect.LiteralType):
        return [str(choice) for choice in _choices(info)], []
    if isinstance(info, inspect.UnionType):
        return _joined(map(_keys, info.types))
    if isinstance(info, inspect.StrType):
        if info.pattern is not None:
            return [], [info.pattern]
        if info.min_length is None and info.max_length is None:
            return [], []
        most = "" if info.max_length is None else info.max_length
        return [], [f"^(?s:.){{{info.min_length or 0},{most}}}$"]
    if isinstance(info, inspect.IntType):
        return [], [patterns.whole(patterns.INTEGER)]
    if isinstance(info, inspect.FloatType):
        return [], [patterns.whole(patterns.DECIMAL)]
    pattern = _pattern(info)
    return [], [] if pattern is None else [patterns.whole(pattern)]


def _joined(
    parts: Iterator[tuple[list[str], list[str]]],
) -> tuple[list[str], list[str]]:
    names: list[str] = []
    keys: list[str] = []
    for some_names, some_keys in parts:
        if not (some_names or some_keys):
            return [], []
        names += some_names
        keys += some_keys
    return names, keys


def _pattern(info: inspect.Type) -> str | None:
    """Return the pattern of a type that is a string in JSON, or None for any other type."""
    if isinstance(info, inspect.DateTimeType):
        return patterns.moment(f"{patterns.DATE}T{patterns.LOCAL_TIME}", info.tz)
    if isinstance(info, inspect.TimeType):
        return patterns.moment(patterns.LOCAL_TIME, info.tz)
    if isinstance(info, inspect.DateType):
        return patterns.DATE
    if isinstance(info, inspect.TimeDeltaType):
        return patterns.DURATION
    if isinstance(info, inspect.UUIDType):
        return patterns.UUID
    if isinstance(info, inspect.DecimalType):
        return patterns.DECIMAL
    return patterns.BASE64 if isinstance(info, _BYTES) else None
