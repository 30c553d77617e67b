"""What one request may be sent now: the `window` it named and the `credit` that came since.

Without a window everything goes out at once. With one, messages past it are held here, the
final behind them, until the host grants more; so a host that is slow to take one stream keeps
back that stream alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mlxwire_protocol.messages import MAX_SAFE_INTEGER

MAX_HELD_BYTES = 16 << 20
"""Of one request's messages that wait for credit; one that passes it ends with `overloaded`."""


class Delivery:
    """Lines of one request on their way to the writer, in order."""

    __slots__ = ("_final", "_held", "_put", "credit", "held_bytes")

    def __init__(self, put: Callable[[bytes], None], window: int | None) -> None:
        self._put = put
        self.credit = window
        self._held: deque[tuple[bytes, int]] = deque()
        self.held_bytes = 0
        self._final: Callable[[], None] | None = None

    @property
    def held(self) -> int:
        """Messages that wait for credit, the final aside."""
        return len(self._held)

    @property
    def overfull(self) -> bool:
        """Whether more waits for credit than the worker keeps."""
        return self.held_bytes > MAX_HELD_BYTES

    @property
    def finished(self) -> bool:
        """Whether the final waits behind held messages."""
        return self._final is not None

    def message(self, line: bytes, tokens: int = 0) -> None:
        """A message that counts against the window, and the generated tokens that it tells."""
        if self.credit is None:
            self._put(line)
        elif self.credit > 0:
            self.credit -= 1
            self._put(line)
        else:
            self._held.append((line, tokens))
            self.held_bytes += len(line)

    def advice(self, line: bytes) -> None:
        """Progress: sent if nothing waits, else left out, since a later one says more."""
        if not self._held and self.credit != 0:
            self._put(line)

    def finish(self, send_final: Callable[[], None]) -> None:
        """Send the final once all before it is sent."""
        if self._held:
            self._final = send_final
        else:
            send_final()

    def grant(self, n: int) -> int:
        """Let ``n`` more messages out; returns what may still come."""
        assert self.credit is not None
        self.credit = min(self.credit + n, MAX_SAFE_INTEGER)
        while self._held and self.credit:
            self.credit -= 1
            line, _ = self._held.popleft()
            self.held_bytes -= len(line)
            self._put(line)
        if not self._held and self._final is not None:
            final, self._final = self._final, None
            final()
        return self.credit

    def open(self) -> None:
        """No credit can come any more: what is held and all that follows goes out at once."""
        if self.credit is not None:
            self.grant(len(self._held))
            self.credit = None

    def drop(self) -> int:
        """Forget what is held, its final too; returns how many generated tokens were held."""
        held = sum(tokens for _, tokens in self._held)
        self._held.clear()
        self.held_bytes = 0
        self._final = None
        return held
