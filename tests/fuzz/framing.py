"""Bytes to lines: however a stream is cut into chunks, the lines are those of SPEC §1."""

from __future__ import annotations

import random

from mlxwire_protocol.framing import PREFIX_BYTES, Line, LineSplitter, Overlong

from .cases import Case, Target, require
from .mutation import FRAGMENTS, cut_up
from .reference import lines_of

MOST = 700
"""More than the prefix that is kept of a line too long, so that both limits are met."""
_PIECES = [b"\n", b"\r\n", b"\r", b"\n\n", b" \t\n", b"{}", b'{"id":"a"}\n', *FRAGMENTS]


class Framing(Target):
    """Each chunk is a step."""

    name = "framing"

    def make(self, dice: random.Random) -> Case:
        pieces = [_piece(dice) for _ in range(dice.randrange(1, 16))]
        return list(cut_up(b"".join(pieces), dice))

    def run(self, case: Case) -> int:
        chunks = [step for step in case if isinstance(step, bytes)]
        stream = b"".join(chunks)
        lines, rest = _split(chunks)
        expected, last = lines_of(stream, MOST)

        require(len(lines) == len(expected), f"{len(lines)} lines of {len(expected)}")
        for line, wanted in zip(lines, expected, strict=True):
            _check_line(line, wanted, stream)
        if last is not None and len(last) > MOST:
            _check_line(rest, None, stream)
        elif last is not None and last.strip(b" \t\r"):
            require(rest == last, f"the unfinished line is {rest!r}")
        else:
            require(rest is None, f"{rest!r} at the end")
        require((lines, rest) == _split([stream]), "the chunks change the lines")
        return len(chunks)


def _split(chunks: list[bytes]) -> tuple[list[Line], Line | None]:
    splitter = LineSplitter(MOST)
    lines: list[Line] = []
    for chunk in chunks:
        lines += splitter.feed(chunk)
        held = len(splitter._tail)
        require(held <= MOST + 1, f"{held} bytes of an unfinished line are kept")
    return lines, splitter.end()


def _check_line(line: Line | None, wanted: bytes | None, stream: bytes) -> None:
    if wanted is not None:
        require(line == wanted, f"{line!r} where {wanted!r} was sent")
        return
    require(isinstance(line, Overlong), f"{line!r} where a line was too long")
    assert isinstance(line, Overlong)
    require(len(line.prefix) == PREFIX_BYTES, f"{len(line.prefix)} bytes of prefix")
    require(line.prefix in stream, "a prefix that was not sent")


def _piece(dice: random.Random) -> bytes:
    kind = dice.random()
    if kind < 0.75:
        return dice.choice(_PIECES)
    if kind < 0.9:
        return dice.randbytes(dice.randrange(20))
    return b"x" * dice.choice(
        [1, 100, PREFIX_BYTES - 1, PREFIX_BYTES, MOST - 1, MOST, MOST + 1]
    )
