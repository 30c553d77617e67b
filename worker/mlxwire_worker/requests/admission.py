"""What every engine refuses before a request reaches it, with the field and the remedy.

No value may reach a step that could raise in it: one row's exception costs the others a step.
"""

from __future__ import annotations

import re

from mlxwire_protocol import WireError, invalid_params
from mlxwire_protocol.messages import Batch, Cache, Chat, Generate, Sampling


def check_sampling(request: Sampling, vocabulary: int) -> None:
    """Options against the model. Raises: WireError ``invalid_params``."""
    if request.top_k > vocabulary:
        raise invalid_params(
            "top_k", f"`top_k` may be at most {vocabulary}, the vocabulary's size"
        )
    for index, token_id in enumerate(request.stop_tokens):
        if token_id >= vocabulary:
            raise invalid_params(
                f"stop_tokens[{index}]",
                f"token id {token_id} is not in the vocabulary of {vocabulary}",
            )
    if request.top_logprobs and not request.logprobs:
        raise invalid_params("top_logprobs", "`top_logprobs` needs `logprobs`: true")
    if isinstance(request, Batch) and request.logprobs and not request.stream:
        raise invalid_params(
            "logprobs", "the log-probabilities of a batch come with its tokens: set `stream`"
        )
    if request.top_logprobs > vocabulary:
        raise invalid_params("top_logprobs", "there are fewer tokens than `top_logprobs`")
    if request.penalty_window == 1:
        raise invalid_params(
            "penalty_window", "`penalty_window` may be 0, for the whole text, or 2 and more"
        )
    for token in request.logit_bias:
        if not re.fullmatch("[0-9]{1,10}", token) or int(token) >= vocabulary:
            raise invalid_params(
                f"logit_bias.{token[:20]}",
                f"{token[:20]!r} is no token id of the vocabulary of {vocabulary}",
            )


def check_labels(labels: list[str]) -> None:
    """An item has one probability for each text: twice the same would be one.

    Raises: WireError ``invalid_params``.
    """
    if len(set(labels)) < len(labels):
        twice = next(n for n, label in enumerate(labels) if label in labels[:n])
        raise invalid_params(
            "labels", f"`labels[{twice}]` stands there before; give each label once"
        )


def check_ids(
    ids: list[int], field: str, *, vocabulary: int, context_len: int, extra: int = 0
) -> None:
    """A prompt that is not empty, leaves room, and has no id past the vocabulary.

    Raises: WireError ``invalid_params`` or ``context_overflow``.
    """
    if not ids:
        raise invalid_params(field, f"`{field}` has no tokens; send some text")
    if len(ids) + extra >= context_len:
        raise context_overflow(field, len(ids), context_len)
    if max(ids) >= vocabulary:
        raise invalid_params(
            field,
            f"`{field}` holds token id {max(ids)}, which the model's vocabulary of {vocabulary} "
            "lacks; the tokenizer is not this model's",
        )


def context_overflow(field: str, prompt_tokens: int, context_len: int) -> WireError:
    """A prompt that leaves no room for an answer, with both numbers."""
    return WireError(
        "context_overflow",
        f"`{field}` has {prompt_tokens} tokens and the context {context_len}, which leaves no "
        "room to answer; shorten it or load with a larger context_len",
        data={"field": field, "prompt_tokens": prompt_tokens, "context_len": context_len},
    )


def warm_request(request: Cache) -> Generate | Chat:
    """The request that computes what `cache` is to warm. Raises: WireError ``invalid_params``."""
    if (request.prompt is None) == (request.messages is None):
        raise invalid_params("prompt", "to warm, give either `prompt` or `messages`")
    if request.messages is not None:
        return Chat(id=request.id, messages=request.messages, max_tokens=0)
    assert request.prompt is not None
    return Generate(id=request.id, prompt=request.prompt, max_tokens=0)
