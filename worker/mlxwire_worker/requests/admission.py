"""Checks of requests that all engines share. Each error names the field and a remedy.

An invalid value must be refused here: if it raised in a step, all sequences of the step would
have to repeat it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mlxwire_protocol import WireError, invalid_params

from ..prompts import SamplingParams


def check_sampling(params: SamplingParams, vocabulary: int) -> None:
    """Refuse options that a vocabulary can't honour. Raises: WireError ``invalid_params``."""
    if params.top_k > vocabulary:
        raise invalid_params(
            "top_k",
            f"`top_k` is {params.top_k}; give at most {vocabulary}, the vocabulary's size",
        )
    check_known(params.stop_tokens, "stop_tokens", vocabulary)
    if params.top_logprobs and not params.logprobs:
        raise invalid_params("top_logprobs", "`top_logprobs` needs `logprobs`; set it to true")
    if params.top_logprobs > vocabulary:
        raise invalid_params(
            "top_logprobs",
            f"`top_logprobs` is {params.top_logprobs}; give at most {vocabulary}, the "
            "vocabulary's size",
        )
    if params.penalty_window == 1:
        raise invalid_params(
            "penalty_window",
            "`penalty_window` is 1; give 0 for the whole text, or at least 2",
        )
    for token in params.logit_bias:
        if not 0 <= token < vocabulary:
            raise invalid_params(
                f"logit_bias.{token}",
                f"`logit_bias` has the token id {token}; give ids from 0 to {vocabulary - 1}",
            )


def check_labels(labels: list[str]) -> None:
    """Refuse labels with a repeated text: an item has one probability for each text.

    Raises: WireError ``invalid_params``.
    """
    if len(set(labels)) < len(labels):
        twice = next(n for n, label in enumerate(labels) if label in labels[:n])
        raise invalid_params(
            "labels", f"`labels[{twice}]` repeats an earlier label; give each label once"
        )


def check_given(text: str | list[int], field: str) -> None:
    """Refuse an empty text, or an empty list of token ids. Raises: WireError ``invalid_params``."""
    if not text:
        raise empty_text(field, "character" if isinstance(text, str) else "token id")


def empty_text(field: str, unit: str = "character") -> WireError:
    """Return the error for a text without a single ``unit``."""
    return invalid_params(field, f"`{field}` is empty; give at least 1 {unit}")


def check_ids(
    ids: list[int],
    field: str,
    *,
    vocabulary: int,
    context_len: int,
    extra: int = 0,
    answered: bool = True,
) -> None:
    """Refuse a prompt that is empty, leaves no room, or has an id past the vocabulary.

    A text that is only read, and not ``answered``, may fill the context.

    Raises: WireError ``invalid_params`` or ``context_overflow``.
    """
    if not ids:
        raise invalid_params(field, f"`{field}` has no tokens; send some text")
    if len(ids) + extra >= context_len + (not answered):
        raise context_overflow(field, len(ids), context_len, answered=answered)
    if max(ids) >= vocabulary:
        raise invalid_params(
            field,
            f"the tokenizer gave `{field}` the token id {max(ids)}, but the model's vocabulary "
            f"ends at {vocabulary - 1}; copy tokenizer.json again from the model's source",
        )


def check_known(ids: Sequence[int], field: str, vocabulary: int) -> None:
    """Refuse token ids past the vocabulary. Raises: WireError ``invalid_params``."""
    for index, token_id in enumerate(ids):
        if token_id >= vocabulary:
            raise invalid_params(
                f"{field}[{index}]",
                f"`{field}[{index}]` is {token_id}; give token ids from 0 to {vocabulary - 1}",
            )


def context_overflow(
    field: str,
    prompt_tokens: int,
    context_len: int,
    *,
    answered: bool = True,
    at_least: bool = False,
) -> WireError:
    """Return the error for a text that does not fit, alone or with an answer, with both numbers.

    ``at_least`` is True if the text was not counted to its end.
    """
    included = ", the answer included" if answered else ""
    return WireError(
        "context_overflow",
        f"`{field}` has {'at least ' if at_least else ''}{prompt_tokens} tokens, but the context "
        f"has room for {context_len}{included}; shorten it, or load the model with a larger "
        "`context_len`",
        data={
            "field": field,
            "prompt_tokens": prompt_tokens,
            "context_len": context_len,
            **({"at_least": True} if at_least else {}),
        },
    )


def check_thinking(asked: bool | None, *, has_switch: bool) -> None:
    """Refuse the switch for thinking where it changes nothing.

    Raises: WireError ``unsupported_capability``.
    """
    if asked is not None and not has_switch:
        raise WireError(
            "unsupported_capability",
            f"`thinking` is {str(asked).lower()}, but the chat template of this model has no switch "
            "that turns thinking on and off; leave `thinking` out (`info` lists the capabilities of "
            "the model)",
            data={"missing": ["thinking"], "field": "thinking"},
        )


def check_adapter(name: str, loaded: Collection[str], *, field: str = "adapter") -> None:
    """Refuse the name of an adapter that is not loaded. Raises: WireError ``invalid_params``."""
    if name in loaded:
        return
    known = f"loaded are {', '.join(map(repr, loaded))}" if loaded else "none is loaded"
    raise invalid_params(
        field,
        f"`{field}` is {name[:64]!r}, and no adapter of this name is loaded ({known}); name one that "
        "is, or load it with the command `adapter` first",
    )
