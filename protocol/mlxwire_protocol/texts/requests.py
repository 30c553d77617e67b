"""The requests `render`, `embed`, `rerank` and `score` as types: fields, defaults and ranges."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from ..chat.tools import ToolChoice, ToolList
from ..chat.turns import Conversation
from ..messages import AdapterName, Command, Positive, Streaming, TokenId

Text = Annotated[str, Meta(min_length=1)]
TextOrIds = str | Annotated[list[TokenId], Meta(max_length=1 << 24)]
Texts = Annotated[list[TextOrIds], Meta(min_length=1, max_length=65536)]
"""Texts with an item each. An empty one fails by itself, in its item."""
Pooling = Literal["mean", "last", "first", "max"]
"""Ways to make one vector of those of a text's tokens: mean, last, first, or largest numbers."""


class Render(Command, kw_only=True, frozen=True, tag="render"):
    """Return the prompt that a conversation becomes, with the tokens of each message.

    The options are those of `chat`.
    """

    messages: Conversation
    thinking: bool | UnsetType = UNSET
    special_tokens: bool = False
    tools: ToolList = []
    tool_choice: ToolChoice | UnsetType = UNSET


class Embed(Streaming, kw_only=True, frozen=True, tag="embed"):
    """Return a vector for each text, given as a string or as token ids.

    ``pooling`` left out is the model's own. ``normalize`` left out is what the model's folder says.
    ``instruction`` comes before each text, in the form that the model's folder gives it;
    ``prompt_name`` names an instruction of the folder. ``dimensions`` keeps the first numbers.
    """

    texts: Texts
    dimensions: Positive | None = None
    normalize: bool | None = None
    instruction: Annotated[str, Meta(max_length=1 << 16)] | None = None
    prompt_name: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    pooling: Pooling | None = None
    adapter: AdapterName | None = None


class Rerank(Command, kw_only=True, frozen=True, tag="rerank"):
    """Return how well each document answers the query, best first.

    ``top_n`` keeps the best. ``instruction`` left out is the model's own.
    """

    query: Text
    documents: Annotated[list[Text], Meta(min_length=1, max_length=65536)]
    instruction: Annotated[str, Meta(min_length=1, max_length=1 << 16)] | None = None
    top_n: Positive | None = None
    adapter: AdapterName | None = None
    deadline_seconds: Annotated[float, Meta(gt=0, le=1e6)] | None = None


class Score(Streaming, kw_only=True, frozen=True, tag="score"):
    """Return the log-probability of each token of each text, given as a string or as token ids."""

    texts: Texts
    adapter: AdapterName | None = None
