"""Check the values of options before anything is done with them; the error names the option."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Iterable, Mapping
from typing import TypeGuard

from ..errors import InvalidParams

WORDS = 'give a list of strings, such as ["one", "two"]'
VARIABLES = 'give a dict of strings to strings, such as {"NAME": "value"}, or leave it out'


def check_seconds(name: str, value: object) -> None:
    """Check a number of seconds: None, or 0 or more. Raises: InvalidParams."""
    if value is not None and not (_is_number(value) and value >= 0):
        raise _refused(name, value, "give seconds, 0 or more, or leave it out")


def check_some_seconds(name: str, value: object) -> None:
    """Check a number of seconds: None, or more than 0. Raises: InvalidParams."""
    if value is not None and not (_is_number(value) and value > 0):
        raise _refused(name, value, "give seconds, more than 0, or leave it out")


def check_given(name: str, value: object, *, finite: bool = False) -> None:
    """Check a number of a struct, which has a default: neither None nor, if ``finite``, infinite.

    Raises: InvalidParams.
    """
    if value is None or (finite and value == math.inf):
        raise _refused(name, value, "give a number, or leave it out for the default")


def check_mapping(name: str, value: object) -> None:
    """Check a dict of options, or None. Raises: InvalidParams."""
    if value is not None and not isinstance(value, Mapping):
        raise _refused(name, value, "give a dict, or leave it out")


def check_share(name: str, value: object) -> None:
    """Check a number from 0 to 1. Raises: InvalidParams."""
    if not (_is_number(value) and 0 <= value <= 1):
        raise _refused(name, value, "give a number from 0 to 1")


def check_count(name: str, value: object, *, least: int = 0) -> None:
    """Check a whole number: None, or ``least`` or more. Raises: InvalidParams."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _refused(name, value, f"give a whole number, {least} or more")


def check_words(name: str, value: object) -> None:
    """Check a list of strings, and refuse a single string. Raises: InvalidParams."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _refused(name, value, WORDS)
    if not all(isinstance(word, str) for word in value):
        raise _refused(name, value, WORDS)


def check_kind(name: str, value: object, kind: type[object]) -> None:
    """Check an object of options: None, or of the class ``kind``. Raises: InvalidParams."""
    if value is not None and not isinstance(value, kind):
        raise _refused(name, value, f"give a `mlxwire.{kind.__name__}(…)`, or leave it out")


def check_text(name: str, value: object) -> None:
    """Check a string, or None. Raises: InvalidParams."""
    if value is not None and not isinstance(value, str):
        raise _refused(name, value, "give a string, or leave it out")


def check_command(name: str, value: object) -> None:
    """Check a program and its arguments: None, a string or a list of strings. Raises: InvalidParams."""
    if value is not None and not isinstance(value, str):
        check_words(name, value)


def check_variables(name: str, value: object) -> None:
    """Check environment variables: None, or a dict of strings. Raises: InvalidParams."""
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise _refused(name, value, VARIABLES)
    for variable, text in value.items():
        if not isinstance(variable, str) or not isinstance(text, str):
            raise _refused(f"{name}[{variable!r}]", text, VARIABLES)


def check_folder(name: str, value: object) -> None:
    """Check the path of a folder: None, a string or a path. Raises: InvalidParams."""
    if value is not None and not isinstance(value, str | os.PathLike):
        raise _refused(name, value, "give the path of a folder, or leave it out")


def check_callback(name: str, callback: object) -> None:
    """Check a callback: None, or a plain function. Raises: InvalidParams."""
    if callback is None:
        return
    if not callable(callback):
        raise _refused(name, callback, "give a function, or leave it out")
    called = getattr(callback, "func", callback)  # of a functools.partial
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(
        getattr(called, "__call__", None)  # noqa: B004
    ):
        raise _refused(
            name,
            callback,
            "it is an `async def` function, and nothing would await it. Give a plain function, "
            "which may start a task or fill a queue",
        )


def _is_number(value: object) -> TypeGuard[float]:
    # NaN alone differs from itself; `math.isnan` can't take an int beyond a float's range.
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _refused(name: str, value: object, advice: str) -> InvalidParams:
    return InvalidParams(f"`{name}` is {value!r}: {advice}", data={"field": name})
