"""The base class of the operations that stream the text of one prompt."""

from __future__ import annotations

import time
from contextlib import suppress

from mlxwire_protocol import WireError
from mlxwire_protocol.replies import FinishReason, FlushToken, LogprobToken, Progress

from ...prompts import Prompt, Sampled
from ...requests.failures import failure_of
from .channel_sequence import ChannelSequence
from .sequence import PROGRESS_SECONDS, Generating, Sequence
from .text_sequence import TextSequence


class OneSequence(Generating):
    """An operation whose job streams the tokens of one sequence."""

    __slots__ = ("_prompt",)

    _prompt: Prompt

    def make_prompt(self, prompt: Prompt) -> None:
        """Set the prepared prompt."""
        self._prompt = prompt
        self.job.reuse = prompt
        self.job.prompt_tokens = len(prompt.ids)

    @property
    def next_prompt(self) -> Prompt:
        """Return the only prompt."""
        return self._prompt

    def start_next(self) -> Sequence:
        """Start the only sequence."""
        if self._prompt.channels is not None:
            return ChannelSequence(self, self._prompt, self._prompt.channels)
        return TextSequence(self, self._prompt)

    def send_token(self, sequence: Sequence, text: str, sampled: Sampled) -> None:
        """Send a token with its log-probability."""
        job = self.job
        assert sampled.logprob is not None
        self.ledger.send(
            job,
            LogprobToken(
                id=job.id,
                seq=job.seq,
                token=text,
                token_id=sampled.token_id,
                logprob=sampled.logprob,
                top_logprobs=sequence.top_logprobs(sampled),
            ),
            tokens=1,
        )
        job.seq += 1

    def send_rest(self, sequence: Sequence, text: str, token_id: int) -> None:
        """Send text that was held back until the end."""
        job = self.job
        self.ledger.send(job, FlushToken(id=job.id, seq=job.seq, token=text, token_id=token_id))

    def end_sequence(self, sequence: Sequence, reason: FinishReason) -> None:
        """Send the rest of the text, then the job's final reply."""
        if isinstance(sequence, ChannelSequence):
            reason = sequence.end(reason)
            self.ledger.finish(self.job, reason, sequence.form() or sequence.calls())
            return
        sequence.flush()
        self.ledger.finish(self.job, reason, sequence.form())

    def fail_sequence(self, sequence: Sequence, error: Exception) -> None:
        """End the job with the sequence's error."""
        self.ledger.fail(self.job, failure_of(error))

    def drop_sequence(self, sequence: Sequence) -> None:
        """Send the text that was held back, before the job ends."""
        with suppress(WireError):  # the text is too long for a line; the job ends anyway
            sequence.flush()

    def report_prefill(self, sequence: Sequence, done: int) -> None:
        """Send progress, at most every `PROGRESS_SECONDS`."""
        now = time.perf_counter()
        if now - sequence.reported >= PROGRESS_SECONDS:
            sequence.reported = now
            job = self.job
            self.ledger.send(
                job, Progress(id=job.id, stage="prefill", done=done, total=job.prompt_tokens)
            )
