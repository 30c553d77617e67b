"""The life of one request as a table of states, for workers and clients alike.

As in h11, one table lists which reply may follow which; anything else is a violation.
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
    """Follows the replies to one request, and refuses those that the protocol forbids.

    ``tokens`` is the number of tokens received, without held-back text.
    """

    __slots__ = ("_next_seq", "id", "state", "tokens")

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        self.state: State = "open"
        self.tokens = 0
        self._next_seq: dict[int | None, int] = {}

    @property
    def ended(self) -> bool:
        """Return True if the final reply has been received."""
        return self.state == "ended"

    def advance(self, kind: str, message: dict[str, Any]) -> None:
        """Check the next reply and move to its state.

        Raises: WireError ``protocol_violation`` if the reply is not allowed in this state.
        """
        if self.state == "ended":
            raise self._violation(f"`{kind[:SHOWN_CHARACTERS]}` came after the final reply")
        final = message.get("final") is True
        following = self._following(kind, final)
        if (following == "ended") != final:
            raise self._violation(f"`{kind[:SHOWN_CHARACTERS]}` carries the wrong `final`")
        if kind == "token":
            self._check_seq(message)
        self.state = following

    def advance_token(self, seq: int, index: int | None, flush: bool) -> bool:
        """Check a token that is not final, as `advance` does but without its message.

        Return False, and change nothing, if the token is not allowed; `advance` then raises.
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
            raise self._violation(f"`{kind}` is not allowed while the request is {self.state}")
        return following

    def _check_seq(self, message: dict[str, Any]) -> None:
        index = message.get("index")
        if index is not None and type(index) is not int:
            raise self._violation(f"a token has the index {quoted(index)}, not an integer")
        expected = self._next_seq.get(index, 0)
        if message.get("seq") != expected:
            seq = quoted(message.get("seq"))
            raise self._violation(f"a token has the seq {seq}, but {expected} was expected")
        self._next_seq[index] = expected + 1
        if not message.get("flush"):
            self.tokens += 1

    def _violation(self, what: str) -> WireError:
        return WireError("protocol_violation", f"request {self.id!r}: {what}")
