"""A picture of lines and short texts as PNG, for machines without a library for plots."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise

Colour = tuple[int, int, int]

GLYPH_WIDTH, GLYPH_HEIGHT = 5, 7
ADVANCE = GLYPH_WIDTH + 1
SHARE = {"start": 0.0, "middle": 0.5, "end": 1.0}

GLYPHS = {
    character: [int(row, 16) for row in rows.split()]
    for character, rows in {
        "0": "0E 11 13 15 19 11 0E",
        "1": "04 0C 04 04 04 04 0E",
        "2": "0E 11 01 02 04 08 1F",
        "3": "1F 02 04 02 01 11 0E",
        "4": "02 06 0A 12 1F 02 02",
        "5": "1F 10 1E 01 01 11 0E",
        "6": "06 08 10 1E 11 11 0E",
        "7": "1F 01 02 04 08 08 08",
        "8": "0E 11 11 0E 11 11 0E",
        "9": "0E 11 11 0F 01 02 0C",
        ".": "00 00 00 00 00 0C 0C",
        "-": "00 00 00 1F 00 00 00",
        "+": "00 04 04 1F 04 04 00",
        "a": "00 00 0E 01 0F 11 0F",
        "d": "01 01 0D 13 11 11 0F",
        "e": "00 00 0E 11 1F 10 0E",
        "i": "04 00 0C 04 04 04 0E",
        "l": "0C 04 04 04 04 04 0E",
        "n": "00 00 16 19 11 11 11",
        "o": "00 00 0E 11 11 11 0E",
        "p": "00 00 1E 11 1E 10 10",
        "s": "00 00 0E 10 0E 01 1E",
        "t": "08 08 1C 08 08 09 06",
        "v": "00 00 11 11 11 0A 04",
        " ": "00 00 00 00 00 00 00",
    }.items()
}
"""The rows of each character, five bits each, the left one highest. The labels of a plot need no more."""


class Canvas:
    """A white picture to draw on; what lies outside of it is not drawn."""

    def __init__(self, width: int, height: int) -> None:
        self._width = width
        self._rows = [bytearray(b"\xff" * 3 * width) for _ in range(height)]

    def line(self, points: Sequence[tuple[float, float]], colour: Colour) -> None:
        """Draw a line through points, in pixels."""
        for (x, y), (to_x, to_y) in pairwise(points):
            count = max(1, round(max(abs(to_x - x), abs(to_y - y))))
            for step in range(count + 1):
                share = step / count
                self._dot(round(x + (to_x - x) * share), round(y + (to_y - y) * share), colour)

    def text(self, x: float, y: float, text: str, anchor: str, colour: Colour) -> None:
        """Write a text above the line ``y``; ``anchor`` is the part of it at ``x``."""
        left = round(x - SHARE[anchor] * ADVANCE * len(text))
        top = round(y) - GLYPH_HEIGHT
        for place, character in enumerate(text):
            for down, row in enumerate(GLYPHS[character]):
                for right in range(GLYPH_WIDTH):
                    if row >> (GLYPH_WIDTH - 1 - right) & 1:
                        self._dot(left + place * ADVANCE + right, top + down, colour)

    def encoded(self) -> bytes:
        """Return the picture as a PNG file."""
        pixels = b"".join(b"\0" + row for row in self._rows)  # 0: each row is stored as it is
        header = struct.pack(">IIBBBBB", self._width, len(self._rows), 8, 2, 0, 0, 0)
        chunks = (b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)

    def _dot(self, x: int, y: int, colour: Colour) -> None:
        if 0 <= x < self._width and 0 <= y < len(self._rows):
            self._rows[y][3 * x : 3 * x + 3] = bytes(colour)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
