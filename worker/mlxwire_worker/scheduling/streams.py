"""The sequences that the engine is computing, and what becomes of their tokens.

A `generate` or `chat` is one sequence, a `batch` many. Each sequence ends by itself: at a stop
token or string, at its limit, or with its own error.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

from mlxwire_protocol import WireError, error_reply
from mlxwire_protocol.messages import Batch, Cache
from mlxwire_protocol.replies import (
    BatchItem,
    BatchToken,
    Done,
    FinishReason,
    FlushToken,
    LogprobToken,
    Progress,
    TopLogprob,
)

from ..engine import Engine, Failed, Prefilled, Prompt, Sampled, StepResult
from ..process.stdio import log
from ..requests.failures import failure_of
from ..requests.job import Job
from ..requests.session import Session
from .stream import Stream

PROGRESS_SECONDS = 0.1
"""Prefill progress is told at most this often for each request."""


class Streams:
    """All sequences that run. On the engine's thread."""

    def __init__(self, engine: Engine, session: Session) -> None:
        self._engine = engine
        self._session = session
        self._running: dict[Prompt, Stream] = {}

    def __len__(self) -> int:
        return len(self._running)

    @property
    def jobs(self) -> set[Job]:
        """Jobs with a sequence that runs."""
        return {stream.job for stream in self._running.values()}

    def start(self, job: Job, prompt: Prompt, index: int | None = None) -> None:
        """Hand a sequence to the engine."""
        stream = Stream(job, prompt, index)
        try:
            self._engine.add(prompt)
        except Exception as error:
            self._fail(stream, error)
            return
        self._running[prompt] = stream

    def drop(self, jobs: set[Job]) -> None:
        """Take jobs' sequences out of the engine, sending what their text held back."""
        gone = [stream for stream in self._running.values() if stream.job in jobs]
        self._remove(gone)
        for stream in gone:
            if stream.index is None:
                with suppress(WireError):  # too long for a line; it was not wanted any more
                    self._flush(stream)

    def step(self) -> None:
        """One step of the engine, and its results out."""
        try:
            results = self._engine.step()
        except Exception as error:  # the engine names the culprit where it can; here it can't
            self._fail_all(error)
            return
        self._session.cork()
        try:
            self._take(results)
        finally:
            self._session.uncork()

    def _take(self, results: list[StepResult]) -> None:
        """What one step brought: tokens and ends, to the host in one write."""
        size = len(self._running)
        ended: list[Stream] = []
        for result in results:
            stream = self._running.get(result.prompt)
            if stream is None:
                continue
            if isinstance(result, Prefilled):
                self._report_prefill(stream, result.done)
            elif isinstance(result, Failed):
                del self._running[stream.prompt]
                self._fail(stream, result.error)
            elif self._take_token(stream, result, size):
                ended.append(stream)
        self._remove(ended)

    def _take_token(self, stream: Stream, sampled: Sampled, size: int) -> bool:
        """One token out; true if that was the stream's end. Its own trouble ends it alone."""
        stream.job.batch_size = size
        try:
            reason = self._emit(stream, sampled)
            if reason is not None:
                self._end(stream, reason)
        except Exception as error:
            self._fail(stream, error)
            return True
        return reason is not None

    def _emit(self, stream: Stream, sampled: Sampled) -> FinishReason | None:
        """Send one token; the reason, if it was the last."""
        job, prompt, token_id = stream.job, stream.prompt, sampled.token_id
        now = time.perf_counter()
        if job.first_token is None:
            job.first_token = now
            job.stage = "decode"
        job.last_token = now
        if token_id in prompt.stop_ids:
            return "stop"
        if prompt.max_tokens == 0:
            return "length"
        text = stream.text.add_token(token_id)
        stream.last_token_id = token_id
        stream.token_ids.append(token_id)
        if stream.plain:
            self._session.send_token(job, text, token_id)
        else:
            self._send_described(stream, text, sampled)
        if stream.text.stopped:
            return "stop"
        return "length" if stream.generated >= prompt.max_tokens else None

    def _send_described(self, stream: Stream, text: str, sampled: Sampled) -> None:
        """A token with log-probabilities, or of a batch."""
        job, token_id = stream.job, sampled.token_id
        top = _top_logprobs(stream.prompt, sampled)
        stream.pieces.append(text)
        if stream.index is None:
            assert sampled.logprob is not None
            self._session.send(
                job,
                LogprobToken(
                    id=job.id,
                    seq=job.seq,
                    token=text,
                    token_id=token_id,
                    logprob=sampled.logprob,
                    top_logprobs=top,
                ),
                tokens=1,
            )
            job.seq += 1
        elif _streams_tokens(job):
            self._session.send(
                job,
                BatchToken(
                    id=job.id,
                    index=stream.index,
                    seq=stream.seq,
                    token=text,
                    token_id=token_id,
                    logprob=sampled.logprob,
                    top_logprobs=top,
                ),
                tokens=1,
            )
            stream.seq += 1
        job.generated += 1

    def _end(self, stream: Stream, reason: FinishReason) -> None:
        job = stream.job
        if isinstance(job.command, Cache):
            self._remove([stream])
            self._session.end(job, self._engine.serve(job.command, stream.prompt))
            return
        self._flush(stream)
        if stream.index is None:
            self._session.end(
                job,
                Done(
                    id=job.id,
                    finish_reason=reason,
                    tokens_generated=job.generated,
                    metrics=self._session.metrics_of(job),
                ),
            )
            return
        item = BatchItem(
            id=job.id,
            index=stream.index,
            text="".join(stream.pieces),
            token_ids=stream.token_ids,
            finish_reason=reason,
            tokens_generated=stream.generated,
        )
        self._complete(stream, item)

    def _fail(self, stream: Stream, error: Exception) -> None:
        failure = failure_of(error)
        if stream.index is None:
            self._session.fail(stream.job, failure)
            return
        self._complete(stream, failed_item(stream.job, stream.index, error))

    def _complete(self, stream: Stream, item: BatchItem) -> None:
        """One prompt of a batch is done; with the last of them the batch is."""
        told = 0 if _streams_tokens(stream.job) else item.tokens_generated
        self._session.send(stream.job, item, tokens=told)
        finish_part(self._session, stream.job)

    def _flush(self, stream: Stream) -> None:
        """Send what the text held back, under the last token's id."""
        if stream.last_token_id is None:
            return
        rest = stream.text.finish()
        if not rest:
            return
        job = stream.job
        stream.pieces.append(rest)
        if stream.index is None:
            flush = FlushToken(
                id=job.id, seq=job.seq, token=rest, token_id=stream.last_token_id
            )
            self._session.send(job, flush)
        elif _streams_tokens(job):
            piece = BatchToken(
                id=job.id,
                index=stream.index,
                seq=stream.seq,
                token=rest,
                token_id=stream.last_token_id,
                flush=True,
            )
            self._session.send(job, piece)

    def _report_prefill(self, stream: Stream, done: int) -> None:
        now = time.perf_counter()
        if stream.index is None and now - stream.reported >= PROGRESS_SECONDS:
            stream.reported = now
            job = stream.job
            self._session.send(
                job, Progress(id=job.id, stage="prefill", done=done, total=job.prompt_tokens)
            )

    def _remove(self, streams: Iterable[Stream]) -> None:
        prompts = [stream.prompt for stream in streams]
        if not prompts:
            return
        for prompt in prompts:
            self._running.pop(prompt, None)
        self._engine.remove(prompts)

    def _fail_all(self, error: Exception) -> None:
        streams = list(self._running.values())
        try:
            self._remove(streams)
        except Exception as second:
            log(f"dropping sequences after a failed step failed too: {type(second).__name__}")
        self._running.clear()
        for stream in streams:
            self._fail(stream, error)


def finish_part(session: Session, job: Job) -> None:
    """One more prompt of a batch has its item."""
    job.parts_left -= 1
    if job.parts_left == 0:
        session.end(
            job,
            Done(
                id=job.id,
                finish_reason="stop",
                tokens_generated=job.generated,
                metrics=session.metrics_of(job),
            ),
        )


def failed_item(job: Job, index: int, error: Exception) -> BatchItem:
    """A prompt of a batch that could not be continued, with its own error."""
    return BatchItem(
        id=job.id,
        index=index,
        text="",
        token_ids=[],
        finish_reason=None,
        tokens_generated=0,
        error=error_reply(None, failure_of(error)).error,
    )


def _streams_tokens(job: Job) -> bool:
    return isinstance(job.command, Batch) and job.command.stream


def _top_logprobs(prompt: Prompt, sampled: Sampled) -> list[TopLogprob] | None:
    if sampled.top is None:
        return None
    text_of = prompt.detokenizer.text_of
    return [
        TopLogprob(token=text_of(token_id), token_id=token_id, logprob=logprob)
        for token_id, logprob in sampled.top
    ]
