"""The vectors of `testdata/framing/`, as bytes and as what the splitter hands on."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from mlxwire_protocol.framing import DEFAULT_MAX_LINE_BYTES, Line, Overlong
from support.repository import TESTDATA

FOLDER = TESTDATA / "framing"


class FramingVector(NamedTuple):
    """A stream and the lines in it."""

    name: str
    max_line_bytes: int
    stream: bytes
    lines: list[Line]
    end: Line | None


def load_vectors() -> list[FramingVector]:
    """Read every vector of every file."""
    return [
        FramingVector(
            name=f"{path.stem}: {raw['name']}",
            max_line_bytes=raw.get("max_line_bytes", DEFAULT_MAX_LINE_BYTES),
            stream=_bytes(raw["input"]),
            lines=[_line(line) for line in raw["lines"]],
            end=None if raw["end"] is None else _line(raw["end"]),
        )
        for path in sorted(FOLDER.glob("*.json"))
        for raw in json.loads(path.read_text("utf-8"))
    ]


def _bytes(parts: Any) -> bytes:
    if isinstance(parts, str):
        return parts.encode()
    return b"".join(map(_part, parts))


def _part(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode()
    if "hex" in part:
        return bytes.fromhex(part["hex"])
    return bytes(part["repeat"].encode() * part["times"])


def _line(line: Any) -> Line:
    if isinstance(line, dict):
        return Overlong(_bytes(line["too_long"]))
    return _bytes(line)
