"""The messages that one request may be sent now: its `window`, and the `credit` that came since.

Without a window everything goes out at once. With one, messages past it are held here, the
final behind them, until the host grants more; so a host that is slow to take one stream keeps
back that stream alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from mlxwire_protocol.messages import MAX_SAFE_INTEGER

MAX_HELD_BYTES = 16 << 20
"""Of one request's messages that wait for credit; a request that passes it ends `overloaded`."""


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
        """Messages that wait for credit, the final aside."""
        return len(self._held)

    def message(self, line: bytes, tokens: int = 0) -> None:
        """Send a message that counts against the window, and tells ``tokens`` generated tokens."""
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
        """Send progress if nothing waits; else leave it out, since a later one says more."""
        if not self._held and self.credit != 0:
            self._put(line)

    def grant(self, n: int) -> int:
        """Let ``n`` more messages out; return how many may still come."""
        assert self.credit is not None
        self.credit = min(self.credit + n, MAX_SAFE_INTEGER)
        while self._held and self.credit:
            self.credit -= 1
            line, _ = self._held.popleft()
            self.held_bytes -= len(line)
            self._put(line)
        return self.credit

    def open(self) -> None:
        """Send what is held and all that follows at once: no credit can come any more."""
        if self.credit is not None:
            self.grant(len(self._held))
            self.credit = None

    def drop(self) -> int:
        """Forget held messages and the final; return how many generated tokens were held."""
        held = sum(tokens for _, tokens in self._held)
        self._held.clear()
        self.held_bytes = 0
        self.final = None
        return held
