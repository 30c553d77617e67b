"""A job: the worker's record of one accepted request, with its state and its figures.

A job is in one state at a time, and `TRANSITIONS` lists every legal change. `Ledger`
calls the transitions under its lock; nothing else changes a state.

- accepted: read, and not yet handed to the scheduler.
- queued: waiting for its turn.
- prefill, decode: running.
- held: its final reply exists and waits behind messages that need the host's credit.
- sent: its final reply has been sent, and its id is free.

A cancel does not change the state of a job that waits or runs, since only the engine's thread
may take it off the engine. The cancel sets ``cancel_requested``, which that thread reads before
each step. A job that is held has left the engine, so a cancel ends it at once.
"""

from __future__ import annotations

import time
from typing import Literal, NamedTuple, Protocol

from mlxwire_protocol.messages import Command
from mlxwire_protocol.replies import CancelStage, RequestMetrics

from .delivery import Delivery

State = Literal["accepted", "queued", "prefill", "decode", "held", "sent"]
JobEvent = Literal["queue", "start", "first_token", "cancel", "hold", "send"]

TRANSITIONS: dict[tuple[State, JobEvent], State] = {
    ("accepted", "queue"): "queued",
    ("accepted", "cancel"): "accepted",
    ("accepted", "send"): "sent",
    ("queued", "start"): "prefill",
    ("queued", "cancel"): "queued",
    ("queued", "send"): "sent",
    ("prefill", "first_token"): "decode",
    ("prefill", "cancel"): "prefill",
    ("prefill", "hold"): "held",
    ("prefill", "send"): "sent",
    ("decode", "cancel"): "decode",
    ("decode", "hold"): "held",
    ("decode", "send"): "sent",
    ("held", "cancel"): "held",
    ("held", "send"): "sent",
}
_STAGES: dict[State, CancelStage] = {
    "accepted": "queued",
    "queued": "queued",
    "prefill": "prefill",
    "decode": "decode",
}


class Saved(NamedTuple):
    """The last checkpoint of a training: its folder, None without one, and its step."""

    checkpoint: str | None
    step: int


class Reuse(Protocol):
    """The reuse of the prompt cache by a job's prompts, known once they have started."""

    @property
    def cached_tokens(self) -> int:
        """Return the number of prompt tokens that were taken from the prompt cache."""
        ...

    @property
    def cache_miss(self) -> str | None:
        """Return the reason why no more tokens were reused; None if there is no such reason."""
        ...


class Job:
    """The state and figures of one accepted request, which ends with exactly one final reply.

    Times are `time.perf_counter` seconds. ``stage`` is the stage that the answer to a cancel
    names; it stays the same while the job is held. ``seq`` is the number of its next token.
    """

    __slots__ = (
        "accepted_at", "batch_size", "cancel_requested", "command", "deadline", "delivery",
        "first_token_at", "generated", "last_token_at", "prompt_tokens", "reuse", "seq", "stage",
        "started_at", "state", "thinking_tokens",
    )  # fmt: skip

    def __init__(self, command: Command, delivery: Delivery) -> None:
        self.command = command
        self.delivery = delivery
        self.state: State = "accepted"
        self.stage: CancelStage = "queued"
        self.cancel_requested = False
        self.accepted_at = time.perf_counter()
        seconds: float | None = getattr(command, "deadline_seconds", None)
        self.deadline = None if seconds is None else self.accepted_at + seconds
        self.started_at: float | None = None
        self.first_token_at: float | None = None
        self.last_token_at: float | None = None
        self.prompt_tokens = 0
        self.reuse: Reuse | None = None
        self.generated = 0
        self.thinking_tokens = 0
        self.seq = 0
        self.batch_size = 0

    @property
    def id(self) -> str:
        """Return the request's id, which the host chose."""
        return self.command.id

    @property
    def closed(self) -> bool:
        """Return True once the final reply exists; no other message may be sent then."""
        return self.state in ("held", "sent")

    def expired(self, now: float) -> bool:
        """Return whether the deadline has passed before the final was sent."""
        return self.deadline is not None and now >= self.deadline and self.state != "sent"

    # -- transitions ---------------------------------------------------------------------

    def queue(self) -> None:
        """Record that the job waits for its turn."""
        self._move("queue")

    def start(self) -> None:
        """Record that the job starts to run, and the time."""
        self._move("start")
        self.started_at = time.perf_counter()

    def begin_decode(self) -> None:
        """Record that the first token, or the first item of a `classify`, has been computed."""
        self._move("first_token")

    def note_results(self, size: int = 0) -> None:
        """Note the time of results, ``size`` of which were computed together."""
        self.last_token_at = time.perf_counter()
        self.first_token_at = self.first_token_at or self.last_token_at
        self.batch_size = max(self.batch_size, size)

    def request_cancel(self) -> None:
        """Record that the host has cancelled the job."""
        self._move("cancel")
        self.cancel_requested = True

    def hold(self) -> None:
        """Record that the final reply waits behind messages that need credit."""
        self._move("hold")

    def send(self) -> None:
        """Record that the final reply is sent."""
        self._move("send")

    def _move(self, event: JobEvent) -> None:
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            raise RuntimeError(f"a job that is {self.state} can't take the event {event}")
        self.state = following
        self.stage = _STAGES.get(following, self.stage)

    # -- figures -------------------------------------------------------------------------

    def metrics(self, *, active_memory: int, peak_memory: int) -> RequestMetrics:
        """Return the request's counts and times up to now; memory in bytes."""
        now = time.perf_counter()
        started, first, last = self.started_at, self.first_token_at, self.last_token_at
        cached = self.reuse.cached_tokens if self.reuse else 0
        prefill = 0.0 if started is None else (first or now) - started
        decode = (last - first) if first is not None and last is not None else 0.0
        return RequestMetrics(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=cached,
            cache_miss=self.reuse.cache_miss if self.reuse else None,
            generated_tokens=self.generated,
            thinking_tokens=min(self.thinking_tokens, self.generated),
            queue_seconds=(started or now) - self.accepted_at,
            prefill_seconds=prefill,
            decode_seconds=decode,
            total_seconds=now - self.accepted_at,
            first_token_seconds=None if first is None else first - self.accepted_at,
            prefill_tokens_per_second=(self.prompt_tokens - cached) / prefill
            if first and prefill
            else 0.0,
            decode_tokens_per_second=max(self.generated - 1, 0) / decode if decode > 0 else 0.0,
            peak_memory_bytes=peak_memory,
            active_memory_bytes=active_memory,
            batch_size=self.batch_size,
        )
