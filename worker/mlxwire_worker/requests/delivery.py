"""Holds back the messages of a request that exceed its `window`, until the host sends `credit`.

Without a window every message is sent at once. With a window, further messages wait here, and
the final reply behind them; so a host that reads one stream slowly delays only that stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from mlxwire_protocol.messages import MAX_SAFE_INTEGER

MAX_HELD_BYTES = 16 << 20
"""The most bytes that wait for credit; a request with more ends with ``overloaded``."""


class Delivery:
    """Lines of one request on their way to the writer, in order.

    ``credit`` is how many more messages may go out, None without a window. ``final`` is the
    reply that waits behind held messages. ``overfull`` tells that more waited for credit than
    the worker keeps, and stays: the request ends for it, whatever credit comes meanwhile.
    """

    __slots__ = ("_held", "_put", "credit", "final", "held_bytes", "overfull")

    def __init__(self, put: Callable[[bytes], None], window: int | None) -> None:
        self._put = put
        self.credit = window
        self._held: deque[tuple[bytes, int]] = deque()
        self.held_bytes = 0
        self.overfull = False
        self.final: Struct | None = None

    @property
    def held(self) -> int:
        """Return the number of messages that wait for credit, without the final reply."""
        return len(self._held)

    def message(self, line: bytes, tokens: int = 0) -> None:
        """Send or hold a message that uses credit and has ``tokens`` tokens in it."""
        if self.credit is None:
            self._put(line)
        elif self.credit > 0:
            self.credit -= 1
            self._put(line)
        else:
            self._held.append((line, tokens))
            self.held_bytes += len(line)
            self.overfull |= self.held_bytes > MAX_HELD_BYTES

    def advice(self, line: bytes) -> None:
        """Send a progress message, or drop it if messages wait: a later one replaces it."""
        if self.credit != 0:
            self._put(line)

    def grant(self, n: int) -> int:
        """Add ``n`` to the credit, send held messages, and return the credit that is left."""
        assert self.credit is not None
        self.credit = min(self.credit + n, MAX_SAFE_INTEGER)
        while self._held and self.credit:
            self.credit -= 1
            line, _ = self._held.popleft()
            self.held_bytes -= len(line)
            self._put(line)
        return self.credit

    def open(self) -> None:
        """Send all held messages, and every later one at once: no more credit can come."""
        if self.credit is not None:
            self.grant(len(self._held))
            self.credit = None

    def drop(self) -> int:
        """Drop the held messages and the final reply; return the number of tokens in them."""
        held = sum(tokens for _, tokens in self._held)
        self._held.clear()
        self.held_bytes = 0
        self.final = None
        return held
