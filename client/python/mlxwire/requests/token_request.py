"""The requests `generate` and `chat`: tokens and parts of tool calls, in the order of their ``seq``.

Both take the same window. A message with ``flush`` and a part of a call are no tokens: their
seqs are noted as they arrive, so that taking a token, the hot path, counts nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Unpack

import msgspec

from mlxwire_protocol.client_events import ToolCallDelta

from ..results import Token, convert_reply
from .route import Connector
from .stream_request import MESSAGE_OVERHEAD_BYTES, StreamLimits, StreamRequest

NO_TOKEN_ID = -1
"""The ``id`` of a part of a tool call, which is no token."""


class _Part(msgspec.Struct):
    """The fields of a `tool_call` message, of the beginning of a call or of its arguments."""

    seq: int
    index: int
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class TokenRequest(StreamRequest[Token]):
    """A request `generate` or `chat`: the consumer takes its tokens.

    ``kept``: all tokens that came, so that the whole answer can be asked for after some were taken.
    """

    def __init__(
        self,
        connector: Connector,
        command: str,
        fields: Mapping[str, Any],
        **limits: Unpack[StreamLimits],
    ) -> None:
        super().__init__(connector, command, fields, **limits)
        self._uncounted: list[int] = []
        self._call_ids: dict[int, str] = {}
        self.kept: list[Token] = []

    @property
    def tokens_delivered(self) -> int:
        """The number of tokens that the caller took, without what is no token (SPEC §5)."""
        return self.taken - bisect_left(self._uncounted, self.taken)

    def take_token(self, token: Token) -> None:
        if token.flush:
            self._uncounted.append(token.seq)
        if self.push(token):
            self.kept.append(token)

    def take_part(self, message: dict[str, Any]) -> None:
        part = convert_reply(message, _Part)
        if part.call_id is not None:
            self._call_ids[part.index] = part.call_id
        delta = ToolCallDelta(
            index=part.index,
            call_id=self._call_ids[part.index],  # the connection has seen the call begin
            name=part.name,
            arguments=part.arguments or "",
        )
        self.take_token(
            Token(
                request_id=message["id"],
                seq=part.seq,
                text="",
                id=NO_TOKEN_ID,
                flush=True,
                tool_call=delta,
            )
        )

    def cost(self, message: Token) -> int:
        likely = len(message.top_logprobs or ())
        call = message.tool_call
        size = len(message.text) if call is None else len(call.arguments)
        return size + MESSAGE_OVERHEAD_BYTES * (1 + likely)
