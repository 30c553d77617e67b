"""The life of one request as a table, the same for the side that serves and the side that asks.

h11's idea: what may follow what stands in one place, and anything else is a violation.
"""

from __future__ import annotations

from typing import Any, Literal

from .errors import SHOWN_CHARACTERS, WireError, quoted

State = Literal["open", "streaming", "ended"]

TRANSITIONS: dict[tuple[State, str], State] = {
    ("open", "progress"): "open",
    ("open", "token"): "streaming",
    ("open", "item"): "streaming",
    ("open", "done"): "ended",
    ("open", "result"): "ended",
    ("open", "error"): "ended",
    ("streaming", "progress"): "streaming",
    ("streaming", "token"): "streaming",
    ("streaming", "item"): "streaming",
    ("streaming", "done"): "ended",
    ("streaming", "error"): "ended",
}
_KNOWN_KINDS = frozenset(kind for _, kind in TRANSITIONS)


class RequestState:
    """Follows one request's replies and refuses the ones that the wire forbids."""

    __slots__ = ("_next_seq", "id", "state", "tokens")

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        self.state: State = "open"
        self.tokens = 0
        self._next_seq: dict[int | None, int] = {}

    @property
    def ended(self) -> bool:
        """Whether the final message has been seen."""
        return self.state == "ended"

    def advance(self, kind: str, message: dict[str, Any]) -> None:
        """Take one reply.

        Raises: WireError ``protocol_violation`` if it may not come here.
        """
        if self.state == "ended":
            raise self._violation(f"`{kind[:SHOWN_CHARACTERS]}` came after the final message")
        final = message.get("final") is True
        following = self._following(kind, final)
        if (following == "ended") != final:
            raise self._violation(f"`{kind[:SHOWN_CHARACTERS]}` carries the wrong `final`")
        if kind == "token":
            self._check_seq(message)
        self.state = following

    def advance_token(self, seq: int, index: int | None, flush: bool) -> bool:
        """`advance` for a token that is not final, without its message: the hot path.

        False, and nothing changed, if it may not come here; `advance` then says why.
        """
        if self.state == "ended" or seq != self._next_seq.get(index, 0):
            return False
        self.state = "streaming"
        self._next_seq[index] = seq + 1
        if not flush:
            self.tokens += 1
        return True

    def _following(self, kind: str, final: bool) -> State:
        if kind not in _KNOWN_KINDS:  # ignored, unless it ends the request (SPEC §2)
            return "ended" if final else self.state
        following = TRANSITIONS.get((self.state, kind))
        if following is None:
            raise self._violation(f"`{kind}` may not come while the request is {self.state}")
        return following

    def _check_seq(self, message: dict[str, Any]) -> None:
        index = message.get("index")
        if index is not None and type(index) is not int:
            raise self._violation(f"token index {quoted(index)} is no integer")
        expected = self._next_seq.get(index, 0)
        if message.get("seq") != expected:
            seq = quoted(message.get("seq"))
            raise self._violation(f"token seq {seq} where {expected} was due")
        self._next_seq[index] = expected + 1
        if not message.get("flush"):
            self.tokens += 1

    def _violation(self, what: str) -> WireError:
        return WireError("protocol_violation", f"request {self.id!r}: {what}")
