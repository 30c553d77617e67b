"""The stream of one answer: its tokens, or its text, thoughts and tool calls as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .errors import MlxwireError
from .requests.token_request import TokenRequest
from .results import Token, ToolCall, ToolError
from .stream import AnswerStream

THINKING = "thinking"
"""The channel of thoughts."""


class TokenStream(AnswerStream[Token]):
    """The stream of `Model.generate` and `Model.chat`: an async iterator over `Token`.

    `text`, `thoughts`, `calls` and `message` wait for the end, and are of the whole answer, with the
    tokens that were taken before. They may be called in any order, and again.
    """

    def __init__(self, request: TokenRequest) -> None:
        super().__init__(request)
        self._kept = request.kept

    async def text(self) -> str:
        """Wait for the end, and return the plain text, without thoughts and tool calls.

        Raises: the error that ended the stream, which has all tokens before it as ``results``;
        RequestCancelled if the stream was left.
        """
        return _joined(await self._all(), None)

    async def thoughts(self) -> str:
        """Wait for the end, and return the model's thoughts, empty if it had none.

        Raises: as `text`.
        """
        return _joined(await self._all(), THINKING)

    async def calls(self) -> list[ToolCall]:
        """Wait for the end, and return the complete tool calls, in order of their ``index``.

        Raises: as `text`.
        """
        await self._all()
        return self.tool_calls

    async def message(self) -> dict[str, Any]:
        """Wait for the end, and return the answer as a turn for the ``messages`` of the next chat.

        It has ``role``, ``content``, and if there are any ``tool_calls`` and ``reasoning_content``,
        the thoughts. Raises: as `text`.
        """
        tokens = await self._all()
        return assistant_turn(_joined(tokens, None), _joined(tokens, THINKING), self.tool_calls)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The complete tool calls of an answer that has ended. Raises: as `done`."""
        return self.done.tool_calls

    @property
    def tool_error(self) -> ToolError | None:
        """The last tool call that did not become whole, or None. Raises: as `done`."""
        return self.done.tool_error

    async def _all(self) -> list[Token]:
        """Wait for the end, and return all tokens. Raises: as `text`."""
        try:
            while await self.take_available():
                pass  # the request keeps them
        except MlxwireError as error:
            error.results = [*self._kept]
            raise
        return self._kept


def assistant_turn(text: str, thoughts: str, calls: Iterable[ToolCall]) -> dict[str, Any]:
    """Return an answer as a turn of a conversation, in the shape of ``messages``."""
    called = [
        {
            "id": call.call_id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]
    turn: dict[str, Any] = {"role": "assistant", "content": text or (None if called else "")}
    if thoughts:
        turn["reasoning_content"] = thoughts
    if called:
        turn["tool_calls"] = called
    return turn


def _joined(tokens: Iterable[Token], channel: str | None) -> str:
    return "".join([token.text for token in tokens if token.channel == channel])
