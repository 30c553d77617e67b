"""The life of one request as a table of states, for workers and clients alike.

As in h11, one table lists which reply may follow which; anything else is a violation.
`replies_to` narrows that to the replies that the request's own command may have.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec

from . import results
from .commands import COMMANDS
from .errors import SHOWN_CHARACTERS, WireError, quoted
from .models.replies import FitResult
from .replies import ErrorBody, RequestMetrics, ToolCall, ToolError
from .texts.replies import RenderResult, RerankResult
from .training.replies import EvaluateResult, TrainResult

State = Literal["open", "streaming", "ended"]
Shape = TypeVar("Shape", bound=msgspec.Struct)

TRANSITIONS: dict[tuple[State, str], State] = {
    ("open", "progress"): "open",
    ("open", "token"): "streaming",
    ("open", "tool_call"): "streaming",
    ("open", "item"): "streaming",
    ("open", "done"): "ended",
    ("open", "result"): "ended",
    ("open", "error"): "ended",
    ("streaming", "progress"): "streaming",
    ("streaming", "token"): "streaming",
    ("streaming", "tool_call"): "streaming",
    ("streaming", "item"): "streaming",
    ("streaming", "done"): "ended",
    ("streaming", "error"): "ended",
}
_KNOWN_KINDS = frozenset(kind for _, kind in TRANSITIONS)


class _DoneShape(msgspec.Struct):
    """The fields of `done` that every client reads; later values are accepted."""

    finish_reason: str
    tokens_generated: int
    metrics: RequestMetrics
    tool_calls: list[ToolCall] = []
    tool_error: ToolError | None = None


class _ErrorShape(msgspec.Struct):
    """The field of `error` that every client reads; later codes are accepted."""

    error: ErrorBody


class _ProgressShape(msgspec.Struct):
    """The fields of `progress`; later stages are accepted."""

    stage: str
    done: Annotated[float, msgspec.Meta(ge=0)]
    total: Annotated[float, msgspec.Meta(ge=0)]


class _ToolCallShape(msgspec.Struct):
    """The fields of `tool_call`: the beginning has ``call_id`` and ``name``, the rest ``arguments``."""

    seq: int
    index: Annotated[int, msgspec.Meta(ge=0)]
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


_SHAPES: dict[str, type[msgspec.Struct]] = {
    "done": _DoneShape,
    "error": _ErrorShape,
    "progress": _ProgressShape,
}
_RESULT_SHAPES: dict[str, type[msgspec.Struct]] = {
    "load": results.LoadResult,
    "unload": results.OkResult,
    "info": results.ModelInfo,
    "tokenize": results.TokenizeResult,
    "detokenize": results.DetokenizeResult,
    "cancel": results.CancelResult,
    "credit": results.CreditResult,
    "cache": results.CacheResult,
    "adapter": results.AdapterResult,
    "render": RenderResult,
    "rerank": RerankResult,
    "fit": FitResult,
    "train": TrainResult,
    "evaluate": EvaluateResult,
    "memory": results.MemoryResult,
    "metrics": results.WorkerMetrics,
    "quit": results.OkResult,
}
"""The shape of each command's `result`; the handshake checks that of `hello`."""


class Replies(NamedTuple):
    """The replies that a request may have; None allows any.

    ``token_places`` and ``item_places`` hold the values that their ``index`` may have. Requests
    with ``tool_calls`` may have these.
    """

    final: str | None = None
    result: type[msgspec.Struct] | None = None
    token_places: Container[int | None] | None = None
    item_places: Container[int | None] | None = None
    tool_calls: bool = True


ANY_REPLIES = Replies()
_ONE_TEXT = (None, 0)
"""The ``index`` of tokens that are not of a batch: left out, or 0."""


def replies_to(command: str, fields: Mapping[str, Any]) -> Replies:
    """Return the replies that a request of ``command`` with ``fields`` may have."""
    row = COMMANDS.get(command)
    if row is None:
        return ANY_REPLIES
    places = range(_entries(command, fields))
    token_places: Container[int | None] = ()
    if command in ("generate", "chat"):
        token_places = _ONE_TEXT
    elif command == "batch" and fields.get("stream"):
        token_places = places
    item_places: Container[int | None] | None = ()
    if command in ("batch", "classify", "embed", "score"):
        item_places = places
    elif command == "discover":
        item_places = None
    calls = command == "chat" and bool(fields.get("tools"))
    return Replies(row.final, _RESULT_SHAPES.get(command), token_places, item_places, calls)


def _entries(command: str, fields: Mapping[str, Any]) -> int:
    """Return the number of prompts, conversations or texts of a request."""
    given = fields.get("texts" if command in ("embed", "score") else "prompts")
    if command == "classify" and given is None:
        given = fields.get("messages")
        if isinstance(given, list | tuple) and given and isinstance(given[0], Mapping):
            return 1  # one conversation
    return len(given) if isinstance(given, list | tuple) else 0


class RequestState:
    """Follows the replies to one request, and refuses those that the protocol forbids.

    ``tokens`` is the number of tokens received, without held-back text.
    """

    __slots__ = ("_allowed", "_calls", "_next_seq", "_token_places", "id", "state", "tokens")

    def __init__(self, request_id: str, allowed: Replies = ANY_REPLIES) -> None:
        self.id = request_id
        self.state: State = "open"
        self.tokens = 0
        self._calls = 0  # tool calls that have begun
        self._allowed = allowed
        self._token_places = allowed.token_places
        self._next_seq: dict[int, int | None] = {}  # None once the prompt's item has come

    @property
    def ended(self) -> bool:
        """Return True if the final reply has been received."""
        return self.state == "ended"

    def advance(self, kind: str, message: dict[str, Any]) -> None:
        """Check the next reply and move to its state.

        Raises: WireError ``protocol_violation`` if the reply is not allowed in this state, or does
        not have the shape that a client needs.
        """
        if self.state == "ended":
            raise self._violation(f"`{kind[:SHOWN_CHARACTERS]}` came after the final reply")
        final = message.get("final") is True
        following = self._following(kind, final)
        if (following == "ended") != final:
            raise self._violation(f"`{kind[:SHOWN_CHARACTERS]}` carries the wrong `final`")
        if kind == "token":
            self._check_seq(kind, self._place(kind, message, self._token_places), message)
            self.tokens += not message.get("flush")
        elif kind == "tool_call":
            self._check_call(message)
        elif kind == "item":
            self._check_item(message)
        else:
            self._check_rest(kind, message)
        self.state = following

    def advance_token(self, seq: int, index: int | None, flush: bool) -> bool:
        """Check a token that is not final, as `advance` does but without its message.

        Return False, and change nothing, if the token is not allowed; `advance` then raises.
        """
        if self.state == "ended" or (
            self._token_places is not None and index not in self._token_places
        ):
            return False
        place = index or 0
        if seq != self._next_seq.get(place, 0):
            return False
        self.state = "streaming"
        self._next_seq[place] = seq + 1
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

    def _check_seq(self, kind: str, place: int, message: dict[str, Any]) -> None:
        """Check that a token or a part of a tool call is the next one of its text."""
        expected = self._next_seq.get(place, 0)
        if expected is None:
            raise self._violation(f"a {kind} came after the item of its prompt, number {place}")
        if message.get("seq") != expected:
            seq = quoted(message.get("seq"))
            raise self._violation(f"a {kind} has the seq {seq}, but {expected} was expected")
        self._next_seq[place] = expected + 1

    def _check_call(self, message: dict[str, Any]) -> None:
        if not self._allowed.tool_calls:
            raise self._violation("a tool call came, but the request has no tools")
        part = self._check_shape(message, "tool_call", _ToolCallShape)
        begins = part.call_id is not None
        if begins != (part.name is not None):
            raise self._violation("a tool call has only one of `call_id` and `name`")
        if not begins and part.arguments is None:
            raise self._violation(
                "a tool call has neither `call_id` and `name` nor `arguments`"
            )
        if begins and part.index != self._calls:
            raise self._violation(f"tool call {part.index} began where {self._calls} was due")
        if not begins and part.index >= self._calls:
            raise self._violation(
                f"arguments came for tool call {part.index}, which had not begun"
            )
        self._check_seq("tool_call", 0, message)
        self._calls += begins

    def _check_item(self, message: dict[str, Any]) -> None:
        if self._allowed.item_places is None:
            return
        place = self._place("item", message, self._allowed.item_places)
        if self._next_seq.get(place, 0) is None:
            raise self._violation(f"a second item has the index {place}")
        self._next_seq[place] = None

    def _place(
        self, kind: str, message: dict[str, Any], places: Container[int | None] | None
    ) -> int:
        """Return the place of a token or an item, 0 if it has no ``index``."""
        index = message.get("index")
        if index is not None and type(index) is not int:
            raise self._violation(f"a {kind} has the index {quoted(index)}, not an integer")
        if places is not None and index not in places:
            what = "without an index" if index is None else f"with the index {quoted(index)}"
            raise self._violation(f"this request can have no {kind} {what}")
        return index or 0

    def _check_rest(self, kind: str, message: dict[str, Any]) -> None:
        """Check that a final is the one of the command, and that a reply can be read."""
        due = self._allowed.final
        if due is None or kind not in _KNOWN_KINDS:
            return
        cancelled = kind == "done" and message.get("finish_reason") == "cancelled"
        if kind not in (due, "error", "progress") and not cancelled:
            raise self._violation(f"the final is `{kind}`, but `{due}` was expected")
        shape = self._allowed.result if kind == "result" else _SHAPES.get(kind)
        if shape is not None:
            self._check_shape(message, kind, shape)

    def _check_shape(self, message: dict[str, Any], kind: str, shape: type[Shape]) -> Shape:
        try:
            return msgspec.convert(message, shape)
        except msgspec.ValidationError as error:
            raise self._violation(f"its `{kind}` is malformed: {error}") from None

    def _violation(self, what: str) -> WireError:
        return WireError("protocol_violation", f"request {self.id!r}: {what}")
