"""The types of ``response_format``: what form the text of an answer must have (SPEC §4.4)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Source = Annotated[str, Meta(min_length=1, max_length=1 << 18)]


class Format(Struct, kw_only=True, frozen=True, tag_field="type", forbid_unknown_fields=True):
    """The base of the values of ``response_format``, which have OpenAI's shape (SPEC §4.4)."""


class TextFormat(Format, kw_only=True, frozen=True, tag="text"):
    """Any text, as without the option."""


class JsonObjectFormat(Format, kw_only=True, frozen=True, tag="json_object"):
    """A JSON object. `compact` allows no white space between its parts, `flexible` allows any."""

    whitespace: Literal["compact", "flexible"] = "compact"


class JsonSchema(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A JSON Schema; what can't be enforced is refused if ``strict``, else up to the model."""

    schema: dict[str, Any] | bool
    name: Annotated[str, Meta(max_length=256)] = ""
    description: Annotated[str, Meta(max_length=65536)] = ""
    strict: bool = True


class JsonSchemaFormat(JsonObjectFormat, kw_only=True, frozen=True, tag="json_schema"):
    """JSON that is an instance of a schema."""

    json_schema: JsonSchema


class RegexFormat(Format, kw_only=True, frozen=True, tag="regex"):
    """A text that an expression matches whole, in the syntax of Rust's crate `regex`."""

    regex: Source


class GrammarFormat(Format, kw_only=True, frozen=True, tag="grammar"):
    """A text of a context-free grammar: llguidance's variant of Lark, or llama.cpp's GBNF."""

    grammar: Source
    syntax: Literal["lark", "gbnf"] = "lark"


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat | RegexFormat | GrammarFormat
