"""`wrong_worker.py WRONGNESS ARGUMENTS…`: a worker with one thing wrong, to prove that the kit sees it.

It is the shipping worker with one function replaced, so that nothing else is wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from mlxwire_protocol.framing import Line, LineSplitter
from mlxwire_worker.__main__ import main
from mlxwire_worker.process.writer import Writer

Message = dict[str, Any]


def universal_line_ends() -> None:
    """Take U+2028 for a line's end."""
    feed = LineSplitter.feed
    LineSplitter.feed = lambda self, chunk: feed(self, chunk.replace(b"\xe2\x80\xa8", b"\n"))


def no_limit() -> None:
    """Take lines of any length."""
    make = LineSplitter.__init__
    LineSplitter.__init__ = lambda self, *_: make(self, 1 << 40)


def cut_off_is_lost() -> None:
    """Throw away a last line without its end."""
    LineSplitter.end = lambda _: None


def chunks_are_lines() -> None:
    """Take each chunk for whole lines."""

    def lines_of(chunk: bytes) -> list[Line]:
        return [line for line in chunk.split(b"\n") if line.strip()]

    LineSplitter.feed = lambda _, chunk: lines_of(chunk)


def exits_with_1() -> None:
    """End well and exit with 1."""
    leave = os._exit
    os._exit = lambda code: leave(code or 1)


def says_nothing() -> None:
    """Never answer."""
    Writer.put = lambda *_: None


def chatters() -> None:
    """Print to the wire."""
    put = Writer.put
    Writer.put = lambda self, line: (put(self, b"loading ...\n"), put(self, line))[1]


def _edit(change: Callable[[Message], Iterator[Message]]) -> Callable[[], None]:
    """Return a worker that writes something else for each of its messages."""

    def patch() -> None:
        put = Writer.put

        def put_changed(self: Writer, lines: bytes) -> None:
            for line in filter(None, lines.split(b"\n")):
                for message in change(orjson.loads(line)):
                    put(self, orjson.dumps(message) + b"\n")

        Writer.put = put_changed

    return patch


def _two_finals(message: Message) -> Iterator[Message]:
    yield message
    if message.get("final"):
        yield message


def _no_final(message: Message) -> Iterator[Message]:
    if message.get("type") != "done":
        yield message


def _seq_gap(message: Message) -> Iterator[Message]:
    yield {**message, "seq": message["seq"] * 2} if "seq" in message else message


def _field_missing(message: Message) -> Iterator[Message]:
    yield {name: value for name, value in message.items() if name != "token_id"}


def _call_without_tools(message: Message) -> Iterator[Message]:
    if message.get("channel") == "thinking":
        kept = {name: message[name] for name in ("id", "seq")}
        message = {"type": "tool_call", **kept, "index": 0, "call_id": "c", "name": "add"}
    yield message


def _call_id_missing(message: Message) -> Iterator[Message]:
    yield {name: value for name, value in message.items() if name != "call_id"}


def _other_code(message: Message) -> Iterator[Message]:
    if isinstance(message.get("error"), dict):
        message["error"]["code"] = "internal"
    yield message


WRONGNESSES: dict[str, Callable[[], None]] = {
    "universal_line_ends": universal_line_ends,
    "no_limit": no_limit,
    "cut_off_is_lost": cut_off_is_lost,
    "chunks_are_lines": chunks_are_lines,
    "exits_with_1": exits_with_1,
    "says_nothing": says_nothing,
    "chatters": chatters,
    "two_finals": _edit(_two_finals),
    "no_final": _edit(_no_final),
    "seq_gap": _edit(_seq_gap),
    "field_missing": _edit(_field_missing),
    "call_without_tools": _edit(_call_without_tools),
    "call_id_missing": _edit(_call_id_missing),
    "other_code": _edit(_other_code),
}

if __name__ == "__main__":
    WRONGNESSES[sys.argv.pop(1)]()
    main()
