"""The items of `embed` and `score`, and the results of `render` and `rerank`, as types."""

from __future__ import annotations

from msgspec import Struct

from ..messages import Count
from ..replies import Reply, RequestMetrics, Result


class RenderedMessage(Struct, kw_only=True):
    """The tokens of one message: ``count`` of them from ``start`` on, in the prompt."""

    index: Count
    start: Count
    count: Count


class RenderResult(Result, kw_only=True, tag="result"):
    """The answer to `render`: the prompt as text and as token ids.

    ``messages`` are the tokens of each message, in order and without a gap: what the template writes
    before the first message counts to it. ``answer_start`` is where the tokens begin that ask for an answer.
    """

    prompt: str
    ids: list[Count]
    count: Count
    messages: list[RenderedMessage]
    answer_start: Count


class EmbeddingItem(Reply, kw_only=True, tag="item"):
    """The vector of one text of an `embed`: numbers, or with `base64` their bytes.

    The bytes are float32, little-endian, in base64. ``tokens`` counts the text's tokens.
    """

    index: Count
    embedding: list[float] | str
    tokens: Count


class ScoreItem(Reply, kw_only=True, tag="item"):
    """The log-probabilities of one text of a `score`: natural, in float32.

    ``logprobs`` has one for each token, given those before it; null for the first, and for a
    probability of 0. ``perplexity`` is the exponential of the mean of their negatives, null if the text has one
    token or if it is infinite.
    """

    index: Count
    token_ids: list[Count]
    pieces: list[str]
    logprobs: list[float | None]
    perplexity: float | None


class Ranked(Struct, kw_only=True):
    """One document of a `rerank`: its place among those given, and its score."""

    index: Count
    relevance_score: float


class RerankResult(Result, kw_only=True, tag="result"):
    """The answer to `rerank`: the documents, best first."""

    results: list[Ranked]
    metrics: RequestMetrics
