"""The options of the requests about texts, as types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from ..options import Messages

Text = str | Sequence[int]
"""A text, or its token ids."""
Conversations = Messages | Sequence[Messages]
"""One conversation, or several."""


class EmbedOptions(TypedDict, total=False):
    """Options of `Model.embed`; what is left out is as the model's folder says.

    ``dimensions``: keep the first numbers of each vector. ``normalize``: scale each vector to length
    1. ``instruction``: what the texts are for, written before each in the model's own form;
    ``prompt_name``: the name of an instruction of the folder. ``pooling``: how the vectors of a text's
    tokens become one. ``adapter``: the name of a loaded adapter. ``deadline_seconds``: as in
    `GenerateOptions`.
    """

    dimensions: int | None
    normalize: bool | None
    instruction: str | None
    prompt_name: str | None
    pooling: Literal["mean", "last", "first", "max"] | None
    adapter: str | None
    deadline_seconds: float | None


class ClassifyOptions(TypedDict, total=False):
    """Options of `Model.classify`.

    ``labels``: continuations whose probabilities to return. ``separator``: text between a prompt and
    each label. With a
    ``temperature`` above 0 the token is drawn, by ``top_k``, ``top_p``, ``min_p`` and ``seed`` as in
    `generate`. ``adapter``: the name of a loaded adapter. ``deadline_seconds``: as in
    `GenerateOptions`.
    """

    labels: Sequence[str] | None
    separator: str
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int | None
    adapter: str | None
    deadline_seconds: float | None
