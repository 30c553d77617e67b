"""`chat`: answer a conversation through the model's chat template."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from mlxwire_protocol.chat.tools import ThinkingBudget
from mlxwire_protocol.chat.turns import Message
from mlxwire_protocol.messages import Chat

from ..prompts import ChatInput
from ..requests.tool_options import NO_TOOLS, ToolOptions, tool_options
from ..requests.turns import plain_turns
from .generation.one_sequence import OneSequence
from .generation.sequence import sampling_params


class ChatOperation(OneSequence):
    """A `chat` request."""

    __slots__ = ()

    def prepare(self) -> None:
        """Render and tokenize the conversation, and check the options."""
        request = self.job.command
        assert isinstance(request, Chat)
        params = sampling_params(request)
        self.engine.check_params(params)
        chat = chat_input(
            request.messages,
            request.thinking,
            request.special_tokens,
            tool_options(
                request.tools,
                request.tool_choice,
                request.parallel_tool_calls,
                request.response_format,
            ),
            enable_thinking=request.enables_thinking,
            separates_channels=request.separates_channels,
        )
        self.make_prompt(self.engine.chat_prompt(chat, params))


def chat_input(
    messages: list[Message],
    thinking: bool | ThinkingBudget | UnsetType = UNSET,
    special_tokens: bool | UnsetType = UNSET,
    tools: ToolOptions = NO_TOOLS,
    *,
    enable_thinking: bool = False,
    separates_channels: bool = True,
) -> ChatInput:
    """Convert a conversation and its options, as the wire has them, to the engine's type.

    Raises: WireError ``invalid_params`` for turns that no model could read.
    """
    return ChatInput(
        messages=plain_turns(messages),
        thinking=thinking if isinstance(thinking, bool) else None,
        thinking_budget=thinking.budget if isinstance(thinking, ThinkingBudget) else None,
        thinking_message=thinking.message if isinstance(thinking, ThinkingBudget) else "",
        special_tokens=special_tokens is True,
        enable_thinking=enable_thinking,
        separates_channels=separates_channels,
        **tools._asdict(),
    )
