"""`tokenize`: return the token ids that `generate` or `chat` would compute for an input."""

from __future__ import annotations

from msgspec import UNSET

from mlxwire_protocol import invalid_params
from mlxwire_protocol.messages import Tokenize
from mlxwire_protocol.results import TokenizeResult

from ..requests.tool_options import tool_options
from .chat import chat_input
from .operation import Operation


class TokenizeOperation(Operation):
    """A `tokenize` request, answered on the prepare thread."""

    __slots__ = ()

    def prepare(self) -> None:
        """End the job with the ids. Raises: WireError, as `Engine.chat_ids` does."""
        request = self.job.command
        assert isinstance(request, Tokenize)
        ids = self._ids(request)
        told = None if request.count_only else ids
        pieces = None if request.count_only else self.engine.pieces(ids)
        self.ledger.end(
            self.job, TokenizeResult(id=self.job.id, ids=told, count=len(ids), pieces=pieces)
        )

    def _ids(self, request: Tokenize) -> list[int]:
        if (request.text is None) == (request.messages is None):
            raise invalid_params(
                "text", "`tokenize` takes either `text` or `messages`; give exactly one of them"
            )
        if request.messages is not None:
            chat = chat_input(
                request.messages,
                request.thinking,
                request.special_tokens,
                tool_options(request.tools),
            )
            return self.engine.chat_ids(chat)
        for name, given in (
            ("thinking", request.thinking is not UNSET),
            ("tools", bool(request.tools)),
        ):
            if given:
                raise invalid_params(name, f"`{name}` needs `messages`; leave `{name}` out")
        assert request.text is not None
        return self.engine.text_ids(
            request.text, special_tokens=request.special_tokens is not False
        )
