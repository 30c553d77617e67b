"""SPEC §1 on bytes, written a second time: slowly, with nothing of the code that is fed."""

from __future__ import annotations

import json
import math
from typing import Any

DEPTH_THAT_IS_SURE = 900
"""The standard library's reader gives up before the wire's 1,024 levels; beyond this nothing is told."""


def lines_of(stream: bytes, most: int) -> tuple[list[bytes | None], bytes | None]:
    """Return the lines that end in a stream, None for one that is too long, and the unended rest.

    Of the last one None also stands for there being nothing.
    """
    *whole, rest = stream.split(b"\n")
    lines = [line.removesuffix(b"\r") for line in whole]
    rest = rest.removesuffix(b"\r")
    kept = [line if len(line) <= most else None for line in lines]
    return [line for line in kept if line is None or line.strip(b" \t\r")], rest or None


class NotJson(ValueError):
    """Against RFC 8259, or what SPEC §1 adds to it."""


def read_json(line: bytes) -> Any:
    """Return a line's value. Raises: NotJson."""
    try:
        value = json.loads(
            line.decode(), parse_constant=_refuse, parse_int=_number, parse_float=_number
        )
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError as error:
        raise NotJson(str(error)) from None
    return value


def is_sure(line: bytes) -> bool:
    """Return True if a line is so flat that `read_json` can tell."""
    return line.count(b"[") + line.count(b"{") < DEPTH_THAT_IS_SURE


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _number(text: str) -> float | int:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number beyond a double's range")
    if set(text) & set(".eE") or abs(number) > 2**65:
        return number
    return int(text) if -(2**63) <= int(text) < 2**64 else number
