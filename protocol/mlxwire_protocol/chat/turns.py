"""The turns of a conversation, in OpenAI's shape (SPEC §4.4)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Name = Annotated[str, Meta(min_length=1, max_length=256)]


class TextPart(Struct, kw_only=True, frozen=True, tag_field="type", tag="text",
               forbid_unknown_fields=True):  # fmt: skip
    """A part of a message's content; text is the only kind."""

    text: str


class CalledFunction(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The function that a turn called. ``arguments`` is a JSON object, as text or as it is."""

    name: Name
    arguments: str | dict[str, Any] = {}


class TurnCall(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A tool call in a turn of the assistant. ``index`` is ignored, since OpenAI's hosts send it."""

    function: CalledFunction
    id: Annotated[str, Meta(max_length=256)] | None = None
    type: Literal["function"] = "function"
    index: int | UnsetType = UNSET


class Message(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One turn of a conversation.

    ``content`` may be null or left out where ``tool_calls`` stand. The assistant's turn may have the thoughts
    that led to it as ``reasoning_content``; the template decides if it renders them. A turn of the
    role ``tool`` brings a call's result, and names the call by ``tool_call_id``.
    """

    role: Annotated[str, Meta(min_length=1, max_length=64)]
    content: str | list[TextPart] | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[TurnCall], Meta(max_length=1024)] | None = None
    tool_call_id: Annotated[str, Meta(max_length=256)] | None = None
    name: Name | None = None

    def __post_init__(self) -> None:
        """Require the content, except beside calls. Raises: ValueError, in msgspec's own words."""
        if self.content is None and not self.tool_calls:
            raise ValueError("Object missing required field `content`")


Conversation = Annotated[list[Message], Meta(min_length=1, max_length=65536)]
Conversations = Annotated[list[Message | Conversation], Meta(min_length=1, max_length=65536)]
"""One conversation, or a list of conversations; a list with both is refused later."""
