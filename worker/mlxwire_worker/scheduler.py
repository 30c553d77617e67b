"""Which request runs when: one loop over an Engine, plain Python that knows no MLX.

Requests run in order of arrival. `load` and `unload` are barriers: they wait for what runs,
and what comes after them waits for them. A cancel is seen before every step.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from mlxwire_protocol import WireError
from mlxwire_protocol.messages import Chat, Classify, Generate, Info, Load, Unload
from mlxwire_protocol.replies import (
    Done,
    FinishReason,
    FlushToken,
    Item,
    LoadResult,
    OkResult,
    Progress,
    TopLogprob,
)

from .engine import (
    Cancelled,
    Classified,
    ClassifyPrompts,
    Engine,
    Failed,
    Prefilled,
    Prompt,
    Sampled,
)
from .jobs import Job
from .session import Logprobs, Session, no_model
from .stdio import log
from .text import TextAssembler

PROGRESS_SECONDS = 0.1
"""Prefill progress is told at most this often for each request."""


class Stream:
    """A `generate` or `chat` that the engine is computing."""

    __slots__ = ("job", "last_token_id", "prompt", "reported", "text")

    def __init__(self, job: Job, prompt: Prompt) -> None:
        self.job = job
        self.prompt = prompt
        self.text = TextAssembler(prompt.detokenizer, prompt.request.stop_strings)
        self.reported = time.perf_counter()
        self.last_token_id: int | None = None


class Scheduler:
    """Owns the engine's thread and the prepare thread."""

    def __init__(self, engine: Engine, session: Session, has_room: Callable[[], bool]) -> None:
        self._engine = engine
        self._session = session
        self._has_room = has_room
        self._condition = threading.Condition()
        self._arrived: deque[Job] = deque()
        self._ready: deque[Job] = deque()
        self._woken = False
        self._preload = False
        self._barrier_done = threading.Event()
        self._streams: dict[Prompt, Stream] = {}
        self._classifying: deque[tuple[Job, int]] = deque()

    def start(self) -> None:
        """Start both threads."""
        for target in (self._run, self._prepare_arrivals):
            name = target.__name__.strip("_")
            threading.Thread(target=target, name=name, daemon=True).start()

    def submit(self, job: Job) -> None:
        """Queue a job, in order of arrival. Any thread."""
        with self._condition:
            self._arrived.append(job)
            self._condition.notify_all()

    def wake(self) -> None:
        """Look at cancellations and at the writer's room now. Any thread."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def preload(self) -> None:
        """Let the engine import what is heavy. Any thread."""
        with self._condition:
            self._preload = self._woken = True
            self._condition.notify_all()

    # -- the prepare thread --------------------------------------------------------------

    def _prepare_arrivals(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._arrived)
                job = self._arrived.popleft()
            if job.ended:
                continue
            barrier = isinstance(job.command, Load | Unload)
            if not barrier and not self._prepare(job):
                continue
            if barrier:
                self._barrier_done.clear()
            with self._condition:
                self._ready.append(job)
                self._woken |= job.cancelled  # a cancel that came while it was in neither queue
                self._condition.notify_all()
            if barrier:
                self._barrier_done.wait()

    def _prepare(self, job: Job) -> bool:
        """Make a job ready for the engine; false if that ended it."""
        command = job.command
        try:
            if isinstance(command, Info):
                self._session.end_info(job)
                return False
            if self._session.model is None:
                raise no_model()
            if isinstance(command, Classify):
                job.prepared = self._engine.prepare_classify(command)
                job.prompt_tokens = sum(map(len, job.prepared.prompts))
            else:
                assert isinstance(command, Generate | Chat)
                job.prepared = self._engine.prepare(command)
                job.prompt_tokens = len(job.prepared.ids)
        except WireError as error:
            self._session.fail(job, error)
            return False
        except Exception as error:
            self._session.fail(job, internal_error(error))
            return False
        return not job.ended

    # -- the engine's thread -------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(self._has_work)
                woken, self._woken = self._woken, False
                preload, self._preload = self._preload, False
            if preload:
                self._engine.preload()
            if woken:
                self._drop_cancelled()
            self._admit()
            if self._has_room():
                self._classify_one()
                if self._streams:
                    self._step()

    def _has_work(self) -> bool:
        if self._woken:
            return True
        if (self._streams or self._classifying) and self._has_room():
            return True
        return bool(self._ready) and self._may_start(self._ready[0])

    def _may_start(self, job: Job) -> bool:
        if job.ended:
            return True
        if isinstance(job.command, Load | Unload):
            return not self._streams and not self._classifying
        if isinstance(job.command, Classify):
            return not self._classifying
        return len(self._streams) < self._engine.slots

    def _drop_cancelled(self) -> None:
        with self._condition:
            waiting = [*self._arrived, *self._ready]
        for job in waiting:
            if job.cancelled:
                self._session.end_cancelled(job)
        gone = [stream for stream in self._streams.values() if stream.job.cancelled]
        if gone:
            self._remove(gone)
            for stream in gone:
                self._flush(stream)
                self._session.end_cancelled(stream.job)
        for entry in [entry for entry in self._classifying if entry[0].cancelled]:
            self._classifying.remove(entry)
            self._session.end_cancelled(entry[0])

    def _admit(self) -> None:
        while True:
            with self._condition:
                if not self._ready or not self._may_start(self._ready[0]):
                    return
                job = self._ready.popleft()
            if isinstance(job.command, Load | Unload):
                try:
                    if not job.ended:
                        self._change_model(job)
                finally:
                    self._barrier_done.set()
            elif not job.ended:
                self._start(job)

    def _start(self, job: Job) -> None:
        job.started = time.perf_counter()
        job.stage = "prefill"
        if isinstance(job.prepared, ClassifyPrompts):
            self._classifying.append((job, 0))
            return
        stream = Stream(job, job.prepared)
        try:
            self._engine.add(stream.prompt)
        except Exception as error:
            self._session.fail(job, failure_of(error))
            return
        self._streams[stream.prompt] = stream

    # -- streams -------------------------------------------------------------------------

    def _step(self) -> None:
        try:
            results = self._engine.step()
        except Exception as error:  # the engine names the culprit where it can; here it can't
            self._fail_all(error)
            return
        batch_size = len(self._streams)
        ended: list[Stream] = []
        for result in results:
            stream = self._streams.get(result.prompt)
            if stream is None:
                continue
            if isinstance(result, Prefilled):
                self._report_prefill(stream, result.done)
            elif isinstance(result, Failed):
                del self._streams[stream.prompt]
                self._session.fail(stream.job, failure_of(result.error))
            else:
                stream.job.batch_size = batch_size
                self._emit(stream, result, ended)
        if ended:
            self._remove(ended)

    def _emit(self, stream: Stream, sampled: Sampled, ended: list[Stream]) -> None:
        job, prompt, token_id = stream.job, stream.prompt, sampled.token_id
        now = time.perf_counter()
        if job.first_token is None:
            job.first_token = now
            job.stage = "decode"
        job.last_token = now
        reason: FinishReason | None = None
        if token_id in prompt.stop_ids:
            reason = "stop"
        elif prompt.max_tokens == 0:
            reason = "length"
        else:
            text = stream.text.add_token(token_id)
            self._session.send_token(job, text, token_id, _logprobs(prompt, sampled))
            if stream.text.stopped:
                reason = "stop"
            elif job.generated >= prompt.max_tokens:
                reason = "length"
            stream.last_token_id = token_id
        if reason is not None:
            ended.append(stream)
            self._flush(stream)
            self._session.end(
                job,
                Done(
                    id=job.id,
                    finish_reason=reason,
                    tokens_generated=job.generated,
                    metrics=self._session.metrics_of(job),
                ),
            )

    def _flush(self, stream: Stream) -> None:
        """Send what the text held back, under the last token's id."""
        if stream.last_token_id is None:
            return
        rest = stream.text.finish()
        if rest:
            job = stream.job
            reply = FlushToken(
                id=job.id, seq=job.seq, token=rest, token_id=stream.last_token_id
            )
            self._session.send(job, reply)

    def _report_prefill(self, stream: Stream, done: int) -> None:
        now = time.perf_counter()
        if now - stream.reported >= PROGRESS_SECONDS:
            stream.reported = now
            job = stream.job
            self._session.send(
                job, Progress(id=job.id, stage="prefill", done=done, total=job.prompt_tokens)
            )

    def _remove(self, streams: list[Stream]) -> None:
        self._engine.remove([stream.prompt for stream in streams])
        for stream in streams:
            self._streams.pop(stream.prompt, None)

    def _fail_all(self, error: Exception) -> None:
        streams = list(self._streams.values())
        try:
            self._remove(streams)
        except Exception as second:
            log(f"dropping sequences after a failed step failed too: {second!r}")
            self._streams.clear()
        for stream in streams:
            self._session.fail(stream.job, failure_of(error))

    # -- classify ------------------------------------------------------------------------

    def _classify_one(self) -> None:
        """One prompt of the `classify` that runs, so that streams go on between its prompts."""
        if not self._classifying:
            return
        job, index = self._classifying.popleft()
        prompts: ClassifyPrompts = job.prepared
        try:
            item = self._engine.classify(prompts, index)
        except Exception as error:
            self._session.fail(job, failure_of(error))
            return
        job.last_token = time.perf_counter()
        job.first_token = job.first_token or job.last_token
        job.batch_size = 1
        self._session.send(job, item_reply(job, index, item))
        if index + 1 < len(prompts.prompts):
            self._classifying.append((job, index + 1))
            return
        self._session.end(
            job,
            Done(
                id=job.id,
                finish_reason="stop",
                tokens_generated=0,
                metrics=self._session.metrics_of(job),
            ),
        )

    # -- the model -----------------------------------------------------------------------

    def _change_model(self, job: Job) -> None:
        job.stage = "prefill"
        job.started = time.perf_counter()
        try:
            if isinstance(job.command, Load):
                self._load(job, job.command)
            else:
                if self._session.model is None:
                    raise no_model()
                self._session.model = None
                self._engine.unload()
                self._session.end(job, OkResult(id=job.id))
        except Cancelled:
            self._session.end_cancelled(job)
        except Exception as error:
            self._session.fail(job, failure_of(error))

    def _load(self, job: Job, command: Load) -> None:
        def report(stage: str, done: float, total: float) -> None:
            if job.cancelled:
                raise Cancelled
            self._session.send(job, Progress(id=job.id, stage=stage, done=done, total=total))

        try:
            info = self._engine.load(command, report)
        finally:
            self._session.model = self._engine.model
        seconds = time.perf_counter() - job.accepted
        fields = msgspec.structs.asdict(info)
        self._session.end(job, LoadResult(id=job.id, load_seconds=seconds, **fields))


def _logprobs(prompt: Prompt, sampled: Sampled) -> Logprobs | None:
    if sampled.logprob is None:
        return None
    top = sampled.top
    if top is None:
        return sampled.logprob, None
    text_of = prompt.detokenizer.text_of
    return sampled.logprob, [
        TopLogprob(token=text_of(token_id), token_id=token_id, logprob=logprob)
        for token_id, logprob in top
    ]


def item_reply(job: Job, index: int, item: Classified) -> Item:
    """One classified prompt as its message."""
    return Item(
        id=job.id,
        index=index,
        token=item.text,
        token_id=item.token_id,
        logprob=item.logprob,
        logits=item.logits,
        labels=item.labels,
    )


def failure_of(error: Exception) -> WireError:
    """An exception as the typed error that its request ends with."""
    if isinstance(error, WireError):
        return error
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return WireError(
            "out_of_memory",
            "the device's memory is full; send shorter prompts or fewer requests at once, "
            "or load a smaller model",
        )
    return internal_error(error)


def internal_error(error: Exception) -> WireError:
    """A fault of ours: logged by type and place, told without text that may quote a prompt."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    log(f"{type(error).__name__} at {place}")
    return WireError(
        "internal",
        f"{type(error).__name__} in the worker; its stderr names the place. Please report it",
    )
