"""One accepted request inside the worker: where it is on its way, and what it has taken.

A job is in one state at a time, and `TRANSITIONS` holds every legal way between two. `Ledger`
calls the transitions under its lock; nothing else changes a state.

accepted: read, and not handed on. queued: waiting for its turn. prefill, decode: at work.
held: its final reply is made, and waits behind messages that need the host's credit.
sent: its final reply is on its way; the id is free.

A cancel is an event like the others. It does not move a job that waits or works, since only
the engine's thread can take it off the engine; it sets ``cancel_requested``, which that thread
looks at before each step. A job that is held has left the engine, so a cancel ends it.
"""

from __future__ import annotations

import time
from typing import Literal, Protocol

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


class Reuse(Protocol):
    """Tokens that a job's prompts took from the prompt cache, known once they have started."""

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were not computed, since an earlier request had computed them."""
        ...

    @property
    def cache_miss(self) -> str | None:
        """The reason why no more were reused."""
        ...


class Job:
    """Created when a request is accepted, ended by exactly one final reply.

    Times are `time.perf_counter` seconds. ``stage`` is where a cancel finds it, and stays when
    the job is held. ``seq`` numbers its next token message.
    """

    __slots__ = (
        "accepted_at", "batch_size", "cancel_requested", "command", "deadline", "delivery",
        "first_token_at", "generated", "last_token_at", "prompt_tokens", "reuse", "seq", "stage",
        "started_at", "state",
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
        self.seq = 0
        self.batch_size = 0

    @property
    def id(self) -> str:
        """The id that the host chose."""
        return self.command.id

    @property
    def closed(self) -> bool:
        """Whether its final reply is made: nothing more may be sent for it."""
        return self.state in ("held", "sent")

    def expired(self, now: float) -> bool:
        """Return whether the deadline has passed before the final was sent."""
        return self.deadline is not None and now >= self.deadline and self.state != "sent"

    # -- transitions ---------------------------------------------------------------------

    def queue(self) -> None:
        """Wait for a turn."""
        self._move("queue")

    def start(self) -> None:
        """Begin to work."""
        self._move("start")
        self.started_at = time.perf_counter()

    def begin_decode(self) -> None:
        """Note the first token, or the first result of a `classify` that counts as one."""
        self._move("first_token")

    def request_cancel(self) -> None:
        """Note that the job is to end before its time."""
        self._move("cancel")
        self.cancel_requested = True

    def hold(self) -> None:
        """Let the final wait for the messages before it."""
        self._move("hold")

    def send(self) -> None:
        """End: the final goes out."""
        self._move("send")

    def _move(self, event: JobEvent) -> None:
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            raise RuntimeError(f"a job that is {self.state} can't take the event {event}")
        self.state = following
        self.stage = _STAGES.get(following, self.stage)

    # -- figures -------------------------------------------------------------------------

    def metrics(self, *, active_memory: int, peak_memory: int) -> RequestMetrics:
        """Return what the request took, up to now."""
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
