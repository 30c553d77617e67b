"""`chat`: answer a conversation through the model's chat template."""

from __future__ import annotations

from msgspec import UNSET, to_builtins

from mlxwire_protocol.messages import Chat, Message

from ..prompts import ChatInput
from .sequence import OneSequence, sampling_params


class ChatOperation(OneSequence):
    """A `chat` request."""

    __slots__ = ()

    def prepare(self) -> None:
        """Render and tokenize the conversation, and check the options."""
        request = self.job.command
        assert isinstance(request, Chat)
        params = sampling_params(request)
        self.engine.check_params(params)
        self.make_prompt(self.engine.chat_prompt(chat_input(request), params))


def chat_input(request: Chat) -> ChatInput:
    """Convert the conversation of a request to the engine's type."""
    return ChatInput(
        messages=turns(request.messages),
        thinking=None if request.thinking is UNSET else bool(request.thinking),
        special_tokens=request.special_tokens,
    )


def turns(messages: list[Message]) -> list[dict[str, str]]:
    """Convert messages to the dicts that a chat template reads."""
    return [to_builtins(message) for message in messages]
