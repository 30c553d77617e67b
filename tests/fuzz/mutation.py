"""Lines that are right, nearly right and not right at all, made by chance and fast.

A message is a dict of raw JSON values, so that what no encoder would write can stand in one.
"""

from __future__ import annotations

import random
from collections.abc import Callable

Raw = dict[str, bytes]
"""A message's fields, each value as its bytes."""

ODD_VALUES = [
    *(b"null", b"true", b"false", b"0", b"-1", b"1", b"5.0", b"0.5", b"-0.0", b"1e3"),
    *(b"2147483648", b"9007199254740991", b"9007199254740992", b"18446744073709551616"),
    *(b"1e308", b"1e400", b"-1e-320", b"NaN", b"Infinity", b"1" * 400, b"01", b"1.", b"0x1"),
    *(b'""', b'"x"', b'"' + b"y" * 129 + b'"', '"é🚀\u2028"'.encode(), b'"\\u0000"', b'"\\n"'),
    *(
        b'"\\ud83d\\ude80"',
        b'"\\ud800"',
        b'"\\udc00x"',
        b'"\xff"',
        b'"\xf0\x9f"',
        b'"\\x"',
        b'"a\tb"',
    ),
    *(b"[]", b"[[]]", b"[1,2]", b'["a","b"]', b"[null]", b"{}", b'{"a":{}}', b'{"":0}', b"]"),
    *(b"[" * 1100 + b"]" * 1100, b'{"a":' * 1023 + b"1" + b"}" * 1023, b"[" * 40, b"'x'", b""),
]
FRAGMENTS = [
    *(b'"id":', b'"cmd":', b'"type":', b'"final":true', b'"id":null', b"{", b"}", b"[", b"]"),
    *(
        b",",
        b":",
        b'"',
        b"\\",
        b"\n",
        b"\r",
        b"\r\n",
        b"\x00",
        b"\xff",
        b"\xc3",
        b"\x85",
        b" ",
        b"\t",
    ),
    *(
        "\u2028".encode(),
        "\ufeff".encode(),
        "🚀".encode(),
        b"\\u",
        b"\\ud800",
        b"e9",
        b"-",
        b"NaN",
    ),
]


def line_of(message: Raw) -> bytes:
    """Return a message as a line without its end."""
    return b"{" + b",".join(b'"%b":%b' % (k.encode(), v) for k, v in message.items()) + b"}"


def spoil_message(message: Raw, dice: random.Random) -> Raw:
    """Return a message with one field changed, left out, added or renamed."""
    changed = dict(message)
    name = dice.choice(list(changed)) if changed else "id"
    kind = dice.randrange(6)
    if kind < 3:
        changed[name] = dice.choice(ODD_VALUES)
    elif kind == 3:
        changed.pop(name, None)
    elif kind == 4:
        changed[dice.choice(["unknown", "", "ID", "final", "x" * 200])] = dice.choice(
            ODD_VALUES
        )
    else:
        changed[dice.choice([*changed, "id", "type", "cmd"])] = changed.pop(name, b"1")
    return changed


def spoil_bytes(line: bytes, dice: random.Random) -> bytes:
    """Return a line with some bytes changed, put in, cut out or repeated."""
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        line = dice.choice(_BYTE_CHANGES)(line, dice.randrange(len(line) + 1), dice)
    return line


def _flip(line: bytes, place: int, dice: random.Random) -> bytes:
    return line[:place] + bytes([dice.randrange(256)]) + line[place + 1 :]


def _insert(line: bytes, place: int, dice: random.Random) -> bytes:
    return line[:place] + dice.choice(FRAGMENTS) + line[place:]


def _insert_value(line: bytes, place: int, dice: random.Random) -> bytes:
    return line[:place] + dice.choice(ODD_VALUES) + line[place:]


def _cut(line: bytes, place: int, dice: random.Random) -> bytes:
    return line[:place] + line[place + dice.randrange(1, 9) :]


def _cut_off(line: bytes, place: int, _dice: random.Random) -> bytes:
    return line[:place]


def _repeat(line: bytes, place: int, dice: random.Random) -> bytes:
    end = place + dice.randrange(1, 9)
    return line[:end] + line[place:]


_BYTE_CHANGES: list[Callable[[bytes, int, random.Random], bytes]] = [
    *(_flip, _insert, _insert_value, _cut, _cut_off, _repeat)
]


def maybe_spoiled(message: Raw, dice: random.Random, *, share: float) -> bytes:
    """Return the line of a message, spoiled in ``share`` of all cases."""
    if dice.random() >= share:
        return line_of(message)
    if dice.random() < 0.6:
        return line_of(spoil_message(message, dice))
    return spoil_bytes(line_of(message), dice)


def cut_up(stream: bytes, dice: random.Random) -> list[bytes]:
    """Return a stream in pieces, empty ones too, cut anywhere."""
    places = sorted(dice.randrange(len(stream) + 1) for _ in range(dice.randrange(5)))
    ends = [*places, len(stream)]
    return [stream[start:end] for start, end in zip([0, *places], ends, strict=True)]
