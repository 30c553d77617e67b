"""The protocol core with an engine that answers at once, as the peer of a transcript.

It has no thread and no clock, so its answers depend on the bytes alone, however they are cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

import msgspec

from mlxwire_protocol import Accepted, WireError, WorkerConnection, error_reply
from mlxwire_protocol.commands import capabilities, row_of
from mlxwire_protocol.events import Event
from mlxwire_protocol.framing import DEFAULT_MAX_LINE_BYTES
from mlxwire_protocol.messages import (
    Cancel,
    Chat,
    Command,
    Generate,
    Info,
    Load,
    Metrics,
    Quit,
    Unload,
)
from mlxwire_protocol.replies import Done, FinishReason, FlushToken, RequestMetrics
from mlxwire_protocol.results import (
    CancelResult,
    InfoResult,
    Limits,
    LoadResult,
    MetricsResult,
    ModelInfo,
    OkResult,
    WorkerIdentity,
)
from mlxwire_worker.mock.engine import MockEngine
from mlxwire_worker.operations import OPERATIONS
from mlxwire_worker.operations.load import load_options
from mlxwire_worker.operations.operation import OnePass, Reading
from mlxwire_worker.output.text import TextAssembler
from mlxwire_worker.prompts import Sampled
from mlxwire_worker.requests.delivery import Delivery
from mlxwire_worker.requests.job import Job
from mlxwire_worker.requests.ledger import Ledger
from support.engine_prompts import prompt_of


class CorePeer:
    """A worker without a process."""

    def __init__(self) -> None:
        identity = WorkerIdentity(name="memory", version="0", pid=1, engine="mock")
        limits = Limits(max_line_bytes=DEFAULT_MAX_LINE_BYTES, max_inflight=4096)
        self._connection = WorkerConnection(
            identity, limits=limits, capabilities={**capabilities("mock"), "hub": False}
        )
        self._engine = MockEngine()
        self._model: ModelInfo | None = None
        self._sent: list[bytes] = []
        self._last: bytes | None = None
        self._ended = False

    def write(self, payload: bytes) -> None:
        """Give bytes to the worker."""
        self._handle(self._connection.receive(payload))

    def close_input(self) -> None:
        """End the bytes to the worker."""
        self._handle(self._connection.receive_end())
        self._ended = True

    def read_line(self) -> bytes | None:
        """Return the worker's next line, or None after its last, which is the answer to `quit`."""
        if self._sent:
            return self._sent.pop(0)
        last, self._last = self._last, None
        return last or None

    def exit_code(self) -> int:
        """Return 0 after `quit` or the end of input."""
        return 0 if self._ended else -1

    def _handle(self, events: Iterable[Event]) -> None:
        for event in events:
            if not isinstance(event, Accepted):
                self._put(event.line)
                continue
            command = event.command
            try:
                if self._ended:
                    raise WireError("shutting_down", "this worker is ending")
                final = self._serve(command)
            except WireError as error:
                final = error_reply(command.id, error)
            if isinstance(command, Quit) and self._last is None:
                self._last = self._connection.encode_reply(final)
            else:
                self._put(self._connection.encode_reply(final))
            self._handle(self._connection.finished(command.id))

    def _put(self, lines: bytes) -> None:
        self._sent += lines.splitlines()

    def _serve(self, command: Command) -> msgspec.Struct:
        match command:
            case Load():
                self._model = self._engine.load(load_options(command), lambda *_: None)
                return LoadResult(id=command.id, **msgspec.structs.asdict(self._model))
            case Cancel():
                known = self._connection.is_known(command.target or "")
                finished = command.target is None or known != "unknown"
                return CancelResult(
                    id=command.id, outcome="finished" if finished else "unknown"
                )
            case Metrics():
                return MetricsResult(id=command.id)
            case Quit():
                self._ended = True
                return OkResult(id=command.id)
        row = row_of(command)
        if self._model is None and row.needs_model:
            raise WireError("model_not_loaded", "load a model first")
        match command:
            case Unload():
                self._model = None
                self._engine.unload()
                return OkResult(id=command.id)
            case Info():
                assert self._model is not None
                return InfoResult(id=command.id, **msgspec.structs.asdict(self._model))
            case Generate() | Chat():
                return self._stream(command)
        # The mock refuses `inspect`.
        assert row.lane in ("prepare", "one_pass", "files")
        return self._operate(command)

    def _operate(self, command: Command) -> msgspec.Struct:
        """Let the worker's own operation answer, into a ledger that keeps the final reply."""
        finals: list[msgspec.Struct] = []
        ledger = SimpleNamespace(
            end=lambda _job, final: finals.append(final),
            finish=lambda _job: finals.append(_done(command, "stop", 0)),
            send=lambda _job, item: self._put(self._connection.encode_reply(item)),
            metrics_of=lambda _job: RequestMetrics(),
        )
        job = Job(command, Delivery(lambda _: None, None))
        row = row_of(command)
        operation = OPERATIONS[row.name, row.action](job, self._engine, cast(Ledger, ledger))
        operation.prepare()
        if isinstance(operation, Reading):
            operation.work()
        while isinstance(operation, OnePass) and not operation.over:
            operation.step()
        return finals[0]

    def _stream(self, command: Generate | Chat) -> Done:
        prompt = prompt_of(self._engine, command)
        text = TextAssembler(prompt.detokenizer, prompt.params.stop_strings, command.min_tokens)
        self._engine.add(prompt)
        count, last = 0, 0
        reason: FinishReason | None = None
        while reason is None:
            for step in self._engine.step():
                if not isinstance(step, Sampled):
                    continue
                if step.token_id in prompt.stop_ids:
                    reason = "stop"
                elif prompt.max_tokens == 0:
                    reason = "length"
                else:
                    last = step.token_id
                    piece = text.add_token(last)
                    self._put(self._connection.encode_token(command.id, count, piece, last))
                    count += 1
                    reached = "length" if count == prompt.max_tokens else None
                    reason = "stop" if text.stopped else reached
        self._engine.remove([prompt])
        if count and (rest := text.finish()):
            flush = FlushToken(id=command.id, seq=count, token=rest, token_id=last)
            self._put(self._connection.encode_reply(flush))
        return _done(command, reason, count, len(prompt.ids))


def _done(command: Command, reason: FinishReason, count: int, prompt_tokens: int = 0) -> Done:
    metrics = RequestMetrics(prompt_tokens=prompt_tokens, generated_tokens=count)
    return Done(id=command.id, finish_reason=reason, tokens_generated=count, metrics=metrics)
