"""Changes a schema that pydantic wrote to one that the worker enforces whole.

Left out is what a decoder can do without: `uniqueItems` of a set, `discriminator` of branches
that their tags tell apart, and formats that the worker does not know, which pydantic checks.
"""

from __future__ import annotations

from typing import Any

from . import patterns

_ENFORCED_FORMATS = {"email", "hostname", "ipv4", "ipv6"}
_FORMAT_PATTERNS = {
    "date": patterns.DATE,
    "time": patterns.moment(patterns.LOCAL_TIME, None),
    "date-time": patterns.moment(f"{patterns.DATE}T{patterns.LOCAL_TIME}", None),
    "duration": patterns.DURATION,
    "uuid": patterns.UUID,
}
_OF_NAMES = ("properties", "patternProperties", "$defs")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "contains")


def strict_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that accepts no more, and that strict mode can enforce."""
    strict: dict[str, Any] = _Strict(schema.get("$defs", {})).change(schema)
    return strict


class _Strict:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions

    def change(self, schema: Any, *, part: bool = False) -> Any:
        """Change one schema and those below it; ``part`` is one of several that hold together."""
        if not isinstance(schema, dict):
            return schema
        changed = {
            name: value
            for name, value in schema.items()
            if name not in ("uniqueItems", "discriminator")
        }
        if "discriminator" in schema and "oneOf" in changed:
            changed["anyOf"] = changed.pop("oneOf")
        for name in _OF_NAMES:
            if name in changed:
                changed[name] = {key: self.change(each) for key, each in changed[name].items()}
        for name in _LISTS:
            if name in changed:
                together = name == "allOf" and len(changed[name]) > 1
                changed[name] = [self.change(each, part=together) for each in changed[name]]
        for name in _SINGLE:
            if name in changed:
                changed[name] = self.change(changed[name])
        self._format(changed)
        self._keys(changed)
        if "properties" in changed and not part and "allOf" not in changed:
            changed.setdefault("additionalProperties", "patternProperties" in changed)
        if "prefixItems" in changed:
            changed.setdefault("items", False)
        return changed

    def _format(self, schema: dict[str, Any]) -> None:
        name = schema.get("format")
        if name in _FORMAT_PATTERNS and "pattern" not in schema:
            schema["pattern"] = patterns.whole(_FORMAT_PATTERNS[name])
        if isinstance(name, str) and name not in _ENFORCED_FORMATS:
            del schema["format"]

    def _keys(self, schema: dict[str, Any]) -> None:
        """Write `propertyNames` as properties or patterns, which the worker enforces."""
        names = schema.pop("propertyNames", None)
        if not isinstance(names, dict):
            return
        if "$ref" in names:
            names = self._definitions.get(names["$ref"].rpartition("/")[2], {})
        names = self.change(names)
        value = schema.get("additionalProperties", {})
        if "enum" in names or "const" in names:
            choices = names["enum"] if "enum" in names else [names["const"]]
            schema["properties"] = {str(choice): value for choice in choices}
        elif "pattern" in names:
            schema["patternProperties"] = {names["pattern"]: value}
        elif "minLength" in names or "maxLength" in names:
            most = names.get("maxLength", "")
            pattern = f"^(?s:.){{{names.get('minLength', 0)},{most}}}$"
            schema["patternProperties"] = {pattern: value}
        else:
            return
        schema["additionalProperties"] = False
