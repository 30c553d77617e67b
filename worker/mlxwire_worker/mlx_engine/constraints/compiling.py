"""Calls llguidance's compiler, which works without the interpreter's lock and within limits."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

_LIMITS = LLParserLimits(
    max_grammar_size=200_000, initial_lexer_fuel=2_000_000, max_lexer_states=100_000
)
_STACK_BYTES = 1 << 29
"""Address space alone: only pages that are used take memory."""
_STACK_LOCK = threading.Lock()
_INTERNAL = re.compile("<(?:state|backtrace)>")
"""The mark before a dump in an error of llguidance; a dump has names that no user gave."""
_NO_TOKEN = ("NoExtensionBias", "no token can come next")


def json_grammar(schema: dict[str, Any], whitespace: str, *, strict: bool = True) -> str:
    """Return llguidance's grammar of the JSON that a schema describes."""
    options: Any = {
        "whitespace_flexible": whitespace == "flexible",
        "lenient": not strict,
        "coerce_one_of": not strict,
        # With `\u0061` a name of `properties` could be spelt as one that the schema does not know.
        "json_allowed_escapes": 'nrbtf\\"',
    }
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options)


def matcher_of(grammar: str, tokens: LLTokenizer) -> LLMatcher:
    """Compile a grammar; the matcher is in error if the grammar can't be used.

    The first mask is computed here too: it can take seconds, which the engine's thread must not
    spend, and copies of the matcher have what it found.
    """

    def compile_and_begin() -> LLMatcher:
        matcher = LLMatcher(tokens, grammar, log_level=0, limits=_LIMITS)
        if not matcher.is_error():
            matcher.compute_bitmask()
        return matcher

    return _on_deep_stack(compile_and_begin)


def _on_deep_stack(work: Callable[[], LLMatcher]) -> LLMatcher:
    """Run work on a thread whose stack is deep enough for any grammar that may be sent.

    llguidance recurses once for each rule that leads to the next. A chain of 5,000 rules overran the
    usual stack, which ends the process.
    """
    made: list[LLMatcher] = []
    with _STACK_LOCK:
        before = threading.stack_size(_STACK_BYTES)
        try:
            thread = threading.Thread(target=lambda: made.append(work()), name="compile")
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    return made[0]


def short(problem: object) -> str:
    """Return a library's message on one line of at most 300 characters, without states of its own."""
    told = _INTERNAL.split(str(problem), maxsplit=1)[0].replace(*_NO_TOKEN)
    return " ".join(told.split())[:300]
