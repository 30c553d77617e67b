"""Sequences, and the base classes of the operations that generate text from them.

A sequence is one prompt in the engine. The scheduler hands the engine's tokens to
`Sequence.take`, which decides when the text ends; the operation decides which messages are
sent.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from mlxwire_protocol import WireError, invalid_params
from mlxwire_protocol.messages import Sampling
from mlxwire_protocol.replies import (
    FinishReason,
    TopLogprob,
)

from ...prompts import Form, Prompt, Sampled, SamplingParams
from ..operation import Operation

PROGRESS_SECONDS = 0.1
"""The shortest time between two progress messages of one request."""


class Sequence(ABC):
    """One prompt of an operation: its only one (``index`` None), or one of a batch."""

    __slots__ = (
        "index", "last_token_id", "operation", "pieces", "prompt", "reported", "seq",
        "token_ids",
    )  # fmt: skip

    def __init__(self, operation: Generating, prompt: Prompt, index: int | None = None) -> None:
        self.operation = operation
        self.prompt = prompt
        self.index = index
        self.reported = time.perf_counter()
        self.last_token_id: int | None = None
        self.token_ids: list[int] = []
        self.pieces: list[str] = []
        self.seq = 0

    @property
    def generated(self) -> int:
        """Return the number of tokens generated so far, without stop tokens."""
        return len(self.token_ids)

    @abstractmethod
    def take(self, sampled: Sampled) -> FinishReason | None:
        """Send one token; return the finish reason if it was the last one, else None."""

    @abstractmethod
    def flush(self) -> None:
        """Send the text that was held back, with the last token's id."""

    @property
    @abstractmethod
    def stopped(self) -> bool:
        """Return True if a stop string has ended the text."""

    def begin_token(self, token_id: int) -> FinishReason | None:
        """Note the time and the id of a token; return the finish reason if it is not to be sent."""
        job, prompt = self.operation.job, self.prompt
        now = time.perf_counter()
        if job.first_token_at is None:
            job.first_token_at = now
            self.operation.ledger.begin_decode(job)
        job.last_token_at = now
        if token_id in prompt.stop_ids:
            return "stop"
        if prompt.max_tokens == 0:
            return "length"
        self.last_token_id = token_id
        self.token_ids.append(token_id)
        return None

    def end_of_token(self, *, stopped: bool) -> FinishReason | None:
        """Return the finish reason if the token that was sent is the last one."""
        constraint = self.prompt.constraint
        if stopped or (constraint is not None and constraint.ended):
            return "stop"
        return "length" if self.generated >= self.prompt.max_tokens else None

    def form(self) -> Form | None:
        """Tell if the whole text has the form that the request asked for; None if it asked none."""
        constraint = self.prompt.constraint
        if constraint is None or not constraint.formed:
            return None
        whole = constraint.complete and not self.stopped
        return Form(whole, constraint.valid("".join(self.pieces)))

    def top_logprobs(self, sampled: Sampled) -> list[TopLogprob] | None:
        """Return the likeliest tokens at this position; None unless the request wants them."""
        if sampled.top is None:
            return None
        text_of = self.prompt.detokenizer.text_of
        return [
            TopLogprob(token=text_of(token_id), token_id=token_id, logprob=logprob)
            for token_id, logprob in sampled.top
        ]


class Generating(Operation, ABC):
    """An operation of the lane `sequences`."""

    __slots__ = ()

    @property
    def left(self) -> int:
        """Return the number of sequences that wait for slots while the queue moves on.

        By default none does: the operation stays in the queue until its only sequence can start.
        """
        return 0

    @property
    @abstractmethod
    def next_prompt(self) -> Prompt | WireError:
        """Return the first prompt that has not started, or that prompt's own error."""

    @abstractmethod
    def start_next(self) -> Sequence | None:
        """Return the sequence of `next_prompt`, or send its error and return None."""

    @abstractmethod
    def send_token(self, sequence: Sequence, text: str, sampled: Sampled) -> None:
        """Send a token that needs more than `Ledger.send_token` writes."""

    @abstractmethod
    def send_rest(self, sequence: Sequence, text: str, token_id: int) -> None:
        """Send text that was held back until the end."""

    @abstractmethod
    def end_sequence(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence whose text is complete."""

    @abstractmethod
    def fail_sequence(self, sequence: Sequence, error: Exception) -> None:
        """End a sequence that failed."""

    def drop_sequence(self, sequence: Sequence) -> None:
        """Release a sequence whose job was cancelled or has expired."""

    def report_prefill(self, sequence: Sequence, done: int) -> None:
        """Report that ``done`` tokens of a prompt have been computed; by default do nothing."""


def sampling_params(request: Sampling) -> SamplingParams:
    """Convert the sampling options of a request to the engine's type.

    Raises: WireError ``invalid_params`` for a name in `logit_bias` that is no token id.
    """
    stop = request.stop
    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        min_p=request.min_p,
        repeat_penalty=request.repeat_penalty,
        seed=request.seed,
        stop_strings=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_tokens=tuple(request.stop_tokens),
        ignore_eos=request.ignore_eos,
        min_tokens=request.min_tokens,
        xtc_probability=request.xtc_probability,
        xtc_threshold=request.xtc_threshold,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        penalty_window=request.penalty_window,
        logit_bias={_token_id(name): bias for name, bias in request.logit_bias.items()},
        logprobs=request.logprobs,
        top_logprobs=request.top_logprobs,
        cache=request.cache,
        response_format=request.response_format,
        adapter=request.adapter,
    )


def _token_id(name: str) -> int:
    """Convert a name in `logit_bias` to a token id.

    The pattern of the type lets a trailing line break through, because Python's `$` matches
    before it; so the name is checked again here.
    """
    if not (name.isascii() and name.isdigit()):
        raise invalid_params(
            f"logit_bias.{name[:20]}",
            f'`logit_bias` has the name {name[:20]!r}; a name is a token id in digits, as "17"',
        )
    return int(name)
