"""A sequence whose text is split into the answer, thoughts and tool calls.

Each generated token has one `token` message without ``flush``, whatever channel it belongs to, so
ids, log-probabilities and counts are complete. A token of a mark or of a call has an empty text.
More text that a token completes goes out as text with ``flush``, and parts of calls as `tool_call`.
"""

from __future__ import annotations

import secrets
import string

from mlxwire_protocol.replies import (
    FinishReason,
    FlushToken,
    ThinkingToken,
    ToolCallArguments,
    ToolCallBegan,
)

from ...output.channel_reader import ChannelReader
from ...output.channels import Channels
from ...output.pieces import (
    CallArguments,
    CallBegan,
    CallEnded,
    CallFailed,
    Piece,
    Text,
    Thought,
)
from ...output.text import ChannelAssembler
from ...prompts import Calls, CompleteCall, FailedCall, Prompt, Sampled
from .sequence import Generating, Sequence

CALL_ID_CHARACTERS = string.ascii_letters + string.digits
CALL_ID_LENGTH = 9
"""Mistral's templates accept call ids of exactly nine letters and digits; the others any text."""


class ChannelSequence(Sequence):
    """The only prompt of a `chat` whose model knows thoughts, or whose request has tools."""

    __slots__ = ("_answer", "_arguments", "_began", "_complete", "_failed", "_index", "_reader")

    def __init__(self, operation: Generating, prompt: Prompt, channels: Channels) -> None:
        super().__init__(operation, prompt)
        params = prompt.params
        self._reader = ChannelReader(prompt.detokenizer, channels)
        self._answer = ChannelAssembler(self._reader, params.stop_strings, params.min_tokens)
        self._index = -1
        self._began: CallBegan | None = None
        self._arguments: list[str] = []
        self._complete: list[CompleteCall] = []
        self._failed: FailedCall | None = None

    @property
    def stopped(self) -> bool:
        """Return True if a stop string has ended the text of the answer."""
        return self._answer.stopped

    def take(self, sampled: Sampled) -> FinishReason | None:
        """Send one token; return the finish reason if it was the last one, else None."""
        if (ended := self.begin_token(sampled.token_id)) is not None:
            return ended
        answer, reader = self._answer, self._reader
        pieces = answer.add_token(sampled.token_id)
        first = pieces[0] if pieces else None
        thinking = reader.in_thought or isinstance(first, Thought)
        self.operation.job.thinking_tokens = reader.thought_tokens
        text = first.text if isinstance(first, Text | Thought) else ""
        if isinstance(first, Text):
            self.pieces.append(text)
        self._send_token(text, sampled, thinking=thinking)
        if self._send(pieces[1:] if text else pieces):
            return "stop"
        return self.end_of_token(stopped=answer.stopped)

    def end(self, reason: FinishReason) -> FinishReason:
        """Send what was held back; return the finish reason that the host is told.

        A call that `max_tokens` cut off is not sent as text; any other one that failed is.
        """
        self._flush(cut_off=reason == "length")
        return "tool_calls" if reason == "stop" and self._complete else reason

    def flush(self) -> None:
        """Send what was held back, when the request is cancelled."""
        self._flush(cut_off=True)

    def calls(self) -> Calls | None:
        """Return the calls of the answer; None if the request has no tools."""
        if self.prompt.check_arguments is None:
            return None
        return Calls(self._complete, self._failed)

    def _flush(self, *, cut_off: bool) -> None:
        if self.last_token_id is not None and not self._one_call_is_enough:
            self._send(self._answer.finish(cut_off=cut_off), cut_off=cut_off)

    @property
    def _one_call_is_enough(self) -> bool:
        return bool(self._complete) and not self.prompt.parallel_calls

    def _send_token(self, text: str, sampled: Sampled, *, thinking: bool) -> None:
        operation = self.operation
        job = operation.job
        if sampled.logprob is None and not self.prompt.params.logprobs:
            channel = "thinking" if thinking else None
            operation.ledger.send_token(job, text, sampled.token_id, channel)
            return
        job.generated += 1
        if not thinking:
            operation.send_token(self, text, sampled)
            return
        token = ThinkingToken(
            id=job.id,
            seq=job.seq,
            token=text,
            token_id=sampled.token_id,
            logprob=sampled.logprob,
            top_logprobs=self.top_logprobs(sampled),
        )
        operation.ledger.send(job, token, tokens=1)
        job.seq += 1

    def _send(self, pieces: list[Piece], *, cut_off: bool = False) -> bool:
        """Send pieces beside a token; return True if the answer ends with one of them."""
        for piece in pieces:
            match piece:
                case Text():
                    self._send_text(piece.text)
                case Thought():
                    self._send_thought(piece.text)
                case CallBegan():
                    self._begin_call(piece)
                case CallArguments():
                    self._send_arguments(piece.text)
                case CallEnded():
                    self._end_call()
                    if self._one_call_is_enough:
                        return True
                case CallFailed():
                    self._fail_call(piece, cut_off=cut_off)
        return False

    def _send_text(self, text: str) -> None:
        job = self.operation.job
        self.pieces.append(text)
        self._send_flush(FlushToken(id=job.id, seq=job.seq, token=text, token_id=self._newest))

    def _send_thought(self, text: str) -> None:
        job = self.operation.job
        self._send_flush(
            ThinkingToken(id=job.id, seq=job.seq, token=text, token_id=self._newest, flush=True)
        )

    def _send_flush(self, token: FlushToken | ThinkingToken) -> None:
        job = self.operation.job
        self.operation.ledger.send(job, token)
        job.seq += 1

    @property
    def _newest(self) -> int:
        assert self.last_token_id is not None
        return self.last_token_id

    def _begin_call(self, began: CallBegan) -> None:
        job = self.operation.job
        self._index += 1
        taken = {call.call_id for call in self._complete}
        own = began.call_id
        if own is None or own in taken:
            own = "".join(secrets.choice(CALL_ID_CHARACTERS) for _ in range(CALL_ID_LENGTH))
        self._began = CallBegan(began.name, own)
        self._arguments = []
        self.operation.ledger.send(
            job,
            ToolCallBegan(
                id=job.id, seq=job.seq, index=self._index, call_id=own, name=began.name
            ),
        )
        job.seq += 1

    def _send_arguments(self, text: str) -> None:
        job = self.operation.job
        self._arguments.append(text)
        self.operation.ledger.send(
            job, ToolCallArguments(id=job.id, seq=job.seq, index=self._index, arguments=text)
        )
        job.seq += 1

    def _end_call(self) -> None:
        began, check = self._began, self.prompt.check_arguments
        assert began is not None
        assert began.call_id is not None
        assert check is not None
        arguments = "".join(self._arguments)
        problem = check(began.name, arguments)
        self._complete.append(
            CompleteCall(
                index=self._index,
                call_id=began.call_id,
                name=began.name,
                arguments=arguments,
                arguments_error=problem,
            )
        )
        self._began = None

    def _fail_call(self, failed: CallFailed, *, cut_off: bool) -> None:
        cut_off = cut_off and failed.cut_off
        index = None if self._began is None else self._index
        self._began = None
        self._failed = FailedCall(
            index=index, message=failed.reason, text=failed.text, cut_off=cut_off
        )
