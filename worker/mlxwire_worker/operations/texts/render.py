"""`render`: return the prompt that a conversation becomes, with the tokens of each message."""

from __future__ import annotations

from mlxwire_protocol.texts.replies import RenderedMessage, RenderResult
from mlxwire_protocol.texts.requests import Render

from ...requests.tool_options import tool_options
from ..chat import chat_input
from ..operation import Operation


class RenderOperation(Operation):
    """A `render` request, answered on the prepare thread."""

    __slots__ = ()

    def prepare(self) -> None:
        """End the job with the prompt. Raises: WireError, as `Engine.rendered` does."""
        request = self.job.command
        assert isinstance(request, Render)
        chat = chat_input(
            request.messages,
            request.thinking,
            request.special_tokens,
            tool_options(request.tools, request.tool_choice),
        )
        rendered = self.engine.rendered(chat)
        self.ledger.end(
            self.job,
            RenderResult(
                id=self.job.id,
                prompt=rendered.text,
                ids=rendered.ids,
                count=len(rendered.ids),
                messages=[
                    RenderedMessage(index=index, start=tokens.start, count=tokens.size)
                    for index, tokens in enumerate(rendered.messages)
                ],
                answer_start=rendered.answer_start,
            ),
        )
