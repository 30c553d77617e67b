"""`chat`: answer a conversation through the model's chat template."""

from __future__ import annotations

from msgspec import UNSET, UnsetType, structs, to_builtins

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
        chat = chat_input(request.messages, request.thinking, request.special_tokens)
        chat = structs.replace(chat, enable_thinking=request.enables_thinking)
        self.make_prompt(self.engine.chat_prompt(chat, params))


def chat_input(
    messages: list[Message],
    thinking: bool | UnsetType = UNSET,
    special_tokens: bool | UnsetType = UNSET,
) -> ChatInput:
    """Convert a conversation and its options, as the wire has them, to the engine's type."""
    return ChatInput(
        messages=[to_builtins(message) for message in messages],
        thinking=None if thinking is UNSET else bool(thinking),
        special_tokens=special_tokens is True,
    )
