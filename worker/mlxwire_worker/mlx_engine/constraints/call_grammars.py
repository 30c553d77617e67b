"""Compiles the grammar of a call that must come, or refuses the schema that can't be enforced."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from llguidance import LLMatcher
from msgspec import structs

from mlxwire_protocol import WireError, invalid_params

from ...output.tool_calls.family import Tool, Tools
from ...output.tool_calls.schemas.branches import Unenforceable
from ...output.tool_calls.syntax.grammars import closed
from .compiling import matcher_of, short
from .json_schema.choices import with_fitting_choices
from .json_schema.compiler import SchemaCompiler
from .json_schema.expansion import without_dependencies
from .json_schema.schemas import loose_keyword, pointer, tightened, without_hard_numbers
from .vocabulary import Vocabulary

WriteCalls = Callable[[Tools], str]
"""Returns a Lark grammar of calls. Raises: Unenforceable."""


def compile_calls(
    tools: Tools, write: WriteCalls, vocabulary: Vocabulary, fields: Mapping[str, str]
) -> LLMatcher:
    """Return the matcher of a grammar of tool calls, at its beginning.

    What can't be enforced of a schema is left to the check of the finished call, unless the tool is
    strict. ``fields`` are the tools' schemas in the request, by the tools' names.
    Raises: WireError ``invalid_params`` with the ``field``, and if it is known ``keyword`` and ``path``.
    """
    matcher = _matcher(tools, write, vocabulary, fields)
    if not matcher.is_error():
        return matcher
    enforced = [_enforced(tool, vocabulary, fields[tool.name]) for tool in tools]
    matcher = _matcher(Tools(enforced), write, vocabulary, fields)
    if not matcher.is_error():
        return matcher
    field = next(iter(fields.values())) if len(tools) == 1 else "tools"
    raise invalid_params(
        field,
        f"a call of these tools can't be enforced: {short(matcher.get_error())}; simplify their "
        "`parameters`, or set `tool_choice` to `auto`",
    )


def _matcher(
    tools: Tools, write: WriteCalls, vocabulary: Vocabulary, fields: Mapping[str, str]
) -> LLMatcher:
    for tool in tools:
        if (loose := loose_keyword(tool.parameters)) and loose[0][-1] in ("const", "enum"):
            raise _refusal(Unenforceable(*loose), fields[tool.name])
    exact = Tools([_exact(tool) for tool in tools])
    try:
        grammar = write(exact)
    except Unenforceable:
        for tool in exact:
            _check(tool, write, fields[tool.name])
        raise
    return matcher_of(LLMatcher.grammar_from_lark(grammar), vocabulary.tokens)


def _exact(tool: Tool) -> Tool:
    """Return a tool whose schema llguidance does not read too loosely."""
    schema = tool.parameters if tool.strict else without_hard_numbers(tool.parameters)
    # Closed first: the choices that are added to it could have properties of any name.
    schema = without_dependencies(with_fitting_choices(closed(schema)))
    return structs.replace(tool, parameters=tightened(schema))


def _check(tool: Tool, write: WriteCalls, field: str) -> None:
    """Write the grammar of one tool. Raises: WireError for what its form can't enforce."""
    try:
        write(Tools([tool]))
    except Unenforceable as problem:
        raise _refusal(problem, field) from None


def _refusal(problem: Unenforceable, field: str) -> WireError:
    path = pointer(problem.path)
    keyword = str(problem.path[-1]) if problem.path else ""
    return invalid_params(
        field,
        f"a call of this tool can't be enforced, because of `{keyword}` at {path}: {problem}; change "
        "it, or set `tool_choice` to `auto`",
        keyword=keyword,
        path=path,
    )


def _enforced(tool: Tool, vocabulary: Vocabulary, field: str) -> Tool:
    """Return a tool with the part of its schema that llguidance can enforce. Raises: WireError."""
    compiler = SchemaCompiler(
        closed(tool.parameters),
        vocabulary.tokens,
        strict=tool.strict,
        field=field,
    )
    return structs.replace(tool, parameters=compiler.compile()[1])
