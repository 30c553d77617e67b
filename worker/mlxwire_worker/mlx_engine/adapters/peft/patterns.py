"""Finds what a config says about a module by patterns of names, in bounded time.

PEFT takes each key of `rank_pattern` and `alpha_pattern` as a regular expression. A file may hold
any, and some take Python's `re` longer than the universe exists, with the interpreter's lock held;
most are plain names, and there may be one for each module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from ...models.model_files import quoted
from ..checking import CONFIG, refused

T = TypeVar("T")
MOST_CHARACTERS = 256
MOST_REPETITIONS = 2
MOST_EXPRESSIONS = 32
_PLAIN = re.compile(r"(?:[\w-]|\\?\.)+")
_REPEATED_GROUP = re.compile(r"\)[*+{?]|\(\?|\\[1-9]")
_REPETITION = re.compile(r"(?<!\\)[*+{?]")


def endings(name: str) -> Iterator[str]:
    """Yield a name, and its ends behind each of its dots."""
    yield name
    while "." in name:
        name = name.partition(".")[2]
        yield name


class NamePatterns(Generic[T]):
    """Values by patterns of the names of modules, of which the first that matches holds.

    A pattern matches a whole name, or its end from one of the dots on. ``setting`` is the one of the
    config. Raises: WireError for a pattern that may take long.
    """

    def __init__(self, values: Mapping[str, T], setting: str) -> None:
        self._plain: dict[str, tuple[int, T]] = {}
        self._expressions: list[tuple[int, re.Pattern[str], T]] = []
        for place, (key, value) in enumerate(values.items()):
            if _PLAIN.fullmatch(key):
                self._plain.setdefault(key.replace("\\.", "."), (place, value))
            else:
                self._expressions.append((place, _compiled(key, setting), value))
        if len(self._expressions) > MOST_EXPRESSIONS:
            raise refused(
                f"`{setting}` in {CONFIG} has {len(self._expressions)} regular expressions; the most "
                f"accepted are {MOST_EXPRESSIONS}; write the names of the modules in their place",
                file=CONFIG,
            )

    def find(self, name: str) -> T | None:
        """Return the value for a name; None if no pattern matches."""
        found = [self._plain[end] for end in endings(name) if end in self._plain]
        starts = [len(name) - len(end) for end in endings(name)] if self._expressions else []
        found += [
            (place, value)
            for place, pattern, value in self._expressions
            if any(pattern.match(name, start) for start in starts)
        ]
        return min(found, key=lambda each: each[0])[1] if found else None


def _compiled(pattern: str, setting: str) -> re.Pattern[str]:
    short = len(pattern) <= MOST_CHARACTERS
    simple = len(_REPETITION.findall(pattern)) <= MOST_REPETITIONS
    try:
        if short and simple and not _REPEATED_GROUP.search(pattern):
            return re.compile(f"(?:{pattern})$")
        why = (
            f"is too long or too intricate; accepted are {MOST_CHARACTERS} characters and "
            f"{MOST_REPETITIONS} repetitions, of single characters alone"
        )
    except (re.error, RecursionError, OverflowError) as error:
        why = f"is no regular expression ({error})"
    raise refused(
        f"the key {quoted(pattern)[:100]!r} of `{setting}` in {CONFIG} {why}; write the names of "
        "the modules in its place",
        file=CONFIG,
    )
