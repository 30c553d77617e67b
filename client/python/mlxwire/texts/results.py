"""The types of what `render`, `embed`, `rerank` and `score` return."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from mlxwire_protocol.replies import ErrorBody, RequestMetrics
from mlxwire_protocol.texts.replies import Ranked, RenderedMessage

from ..errors import MlxwireError, ProtocolViolation
from ..requests.token_request import NO_TOKEN_ID
from ..results import ClassifyResult, convert_reply, error_from_reply

__all__ = [
    "Embedding",
    "RankedDocument",
    "Rendered",
    "RenderedMessage",
    "Reranked",
    "ScoreResult",
    "Vector",
    "convert_classified",
    "convert_embedding",
    "convert_score",
    "failure_of",
    "ranked",
]

if TYPE_CHECKING:
    Vector = array[float]
else:
    Vector = array  # not subscriptable before Python 3.12
FLOAT_BYTES = 4


class Rendered(msgspec.Struct, kw_only=True, frozen=True):
    """The prompt that a conversation becomes, as text and as its ``count`` token ``ids``.

    ``messages``: where the tokens of each message start, and their number. ``answer_start``: where
    the tokens begin that ask for an answer.
    """

    prompt: str
    ids: list[int]
    count: int
    messages: list[RenderedMessage]
    answer_start: int


class Embedding(msgspec.Struct, kw_only=True, frozen=True):
    """The vector of one text, in float32; ``index`` is the text's place.

    ``vector``: an array of floats, which `numpy.asarray` reads without a copy; empty if the text
    failed with ``error``. ``tokens``: the number of the text's tokens.
    """

    index: int
    vector: Vector = msgspec.field(default_factory=lambda: array("f"))
    tokens: int = 0
    error: MlxwireError | None = None


class ScoreResult(msgspec.Struct, kw_only=True, frozen=True):
    """The log-probabilities of one text's tokens; ``index`` is the text's place.

    ``logprobs``: for each of ``token_ids``, natural, given the tokens before it; None for the first,
    and for a probability of 0. ``pieces``: the text of each token. ``perplexity``: the exponential of
    the mean of their negatives; None for a single token, or if it is infinite. All are empty if the text
    failed with ``error``.
    """

    index: int
    token_ids: list[int] = []
    pieces: list[str] = []
    logprobs: list[float | None] = []
    perplexity: float | None = None
    error: MlxwireError | None = None


class RankedDocument(msgspec.Struct, kw_only=True, frozen=True):
    """One document of a `rerank`: its place among those given, its score, and its text."""

    index: int
    relevance_score: float
    document: str


class Reranked(msgspec.Struct):
    """The fields of the result of a `rerank`."""

    results: list[Ranked]
    metrics: RequestMetrics


class _Failure(msgspec.Struct):
    """The fields of an item whose text failed by itself."""

    index: int
    error: ErrorBody | None = None


class _EmbeddingItem(msgspec.Struct):
    index: int
    embedding: str
    tokens: int


class _ScoreItem(msgspec.Struct):
    """The fields of a score, all of which the wire sends."""

    index: int
    token_ids: list[int]
    pieces: list[str]
    logprobs: list[float | None]
    perplexity: float | None


def convert_classified(message: Mapping[str, Any]) -> ClassifyResult:
    """Convert an `item` of a classify. Raises: ProtocolViolation."""
    error = failure_of(message)
    if error is None:
        return convert_reply(message, ClassifyResult)
    return ClassifyResult(
        index=message["index"], text="", token_id=NO_TOKEN_ID, logprob=None, error=error
    )


def convert_embedding(message: Mapping[str, Any]) -> Embedding:
    """Convert an `item` of an embed. Raises: ProtocolViolation."""
    error = failure_of(message)
    if error is not None:
        return Embedding(index=message["index"], error=error)
    item = convert_reply(message, _EmbeddingItem)
    return Embedding(index=item.index, vector=_unpacked(item.embedding), tokens=item.tokens)


def convert_score(message: Mapping[str, Any]) -> ScoreResult:
    """Convert an `item` of a score. Raises: ProtocolViolation."""
    error = failure_of(message)
    if error is not None:
        return ScoreResult(index=message["index"], error=error)
    return ScoreResult(**msgspec.structs.asdict(convert_reply(message, _ScoreItem)))


def ranked(reply: Reranked, documents: list[str]) -> list[RankedDocument]:
    """Return the documents of a rerank, best first.

    Raises: ProtocolViolation if the reply names a document that was not given.
    """
    if any(each.index >= len(documents) for each in reply.results):
        raise ProtocolViolation(
            f"the worker ranked a document beyond the {len(documents)} given. Client and "
            "worker may be of different versions"
        )
    return [
        RankedDocument(
            index=each.index,
            relevance_score=each.relevance_score,
            document=documents[each.index],
        )
        for each in reply.results
    ]


def failure_of(message: Mapping[str, Any]) -> MlxwireError | None:
    """Return the error of an item that failed by itself; None for any other.

    Raises: ProtocolViolation if its ``error`` is malformed.
    """
    if "error" not in message or convert_reply(message, _Failure).error is None:
        return None
    return error_from_reply(message)


def _unpacked(text: str) -> Vector:
    """Return the numbers of a vector: float32 with the least byte first, in base64."""
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolViolation(
            "the worker's `embedding` is no base64. Client and worker may be of different versions"
        ) from None
    if len(packed) % FLOAT_BYTES:
        raise ProtocolViolation(
            f"the worker's `embedding` has {len(packed)} bytes, which are no float32 numbers"
        )
    vector = array("f")
    vector.frombytes(packed)
    if sys.byteorder == "big":
        vector.byteswap()
    return vector
