"""`batch`: continue many raw prompts in one request; each prompt has its own end and `item`."""

from __future__ import annotations

from typing import Any

from mlxwire_protocol import WireError, error_body, invalid_params
from mlxwire_protocol.messages import Batch
from mlxwire_protocol.replies import BatchItem, BatchToken, FinishReason, FormattedItem

from ..engine import Engine
from ..prompts import Prompt, Sampled
from ..requests.admission import check_given
from ..requests.failures import failure_of
from ..requests.job import Job
from ..requests.ledger import Ledger
from .generation.sequence import Generating, Sequence, sampling_params
from .generation.text_sequence import TextSequence


class BatchReuse:
    """Tokens that the prompts of a batch took from the prompt cache.

    It is not the operation: that holds its job, and the two would be freed by the garbage
    collector alone, with all their prompts.
    """

    __slots__ = ("_prompts",)

    cache_miss: str | None = None
    """The reason differs from prompt to prompt, so none is told."""

    def __init__(self, prompts: list[Prompt]) -> None:
        self._prompts = prompts

    @property
    def cached_tokens(self) -> int:
        """Tokens of all prompts that were not computed, since an earlier request had."""
        return sum(prompt.cached_tokens for prompt in self._prompts)


class BatchOperation(Generating):
    """A `batch` request. Its prompts share the slots in turns with later requests."""

    __slots__ = ("_next", "_prompts", "_unfinished")

    def __init__(self, job: Job, engine: Engine, ledger: Ledger) -> None:
        super().__init__(job, engine, ledger)
        self._prompts: list[Prompt | WireError] = []
        self._next = 0
        self._unfinished = 0

    def prepare(self) -> None:
        """Tokenize every prompt; keep the error of one that is empty or too long for its item.

        Raises: WireError if an option is wrong; then the whole request fails.
        """
        request = self._request
        if request.logprobs and not request.stream:
            raise invalid_params(
                "logprobs",
                "`logprobs` of a batch needs `stream`, since each token has its own; set it to true",
            )
        params = sampling_params(request)
        self.engine.check_params(params)
        for index, text in enumerate(request.prompts):
            if self.job.closed:
                return  # cancelled, or past its deadline: nobody waits for the rest
            field = f"prompts[{index}]"
            try:
                check_given(text, field)
                self._prompts.append(self.engine.text_prompt(text, params, field=field))
            except WireError as error:
                if error.code == "invalid_params" and error.field != field:
                    raise
                # Its traceback would hold this call, and so the operation, in a cycle.
                self._prompts.append(error.with_traceback(None))
        ready = [prompt for prompt in self._prompts if isinstance(prompt, Prompt)]
        self.job.prompt_tokens = sum(len(prompt.ids) for prompt in ready)
        self.job.reuse = BatchReuse(ready)
        self._unfinished = len(self._prompts)

    @property
    def left(self) -> int:
        """Return the number of prompts that have not started."""
        return len(self._prompts) - self._next

    @property
    def next_prompt(self) -> Prompt | WireError:
        """Return the first prompt that has not started, or that prompt's own error."""
        return self._prompts[self._next]

    def start_next(self) -> Sequence | None:
        """Return the next prompt's sequence; None after sending the item of one that failed."""
        index, prompt = self._next, self.next_prompt
        self._next += 1
        if isinstance(prompt, Prompt):
            return TextSequence(self, prompt, index)
        self._complete(self._failed_item(index, prompt))
        return None

    def send_token(self, sequence: Sequence, text: str, sampled: Sampled) -> None:
        """Send a token, if the host wants the tokens of its batch."""
        if not self._request.stream:
            return
        assert sequence.index is not None
        self.ledger.send(
            self.job,
            BatchToken(
                id=self.job.id,
                index=sequence.index,
                seq=sequence.seq,
                token=text,
                token_id=sampled.token_id,
                logprob=sampled.logprob,
                top_logprobs=sequence.top_logprobs(sampled),
            ),
            tokens=1,
        )
        sequence.seq += 1

    def send_rest(self, sequence: Sequence, text: str, token_id: int) -> None:
        """Send text that was held back until the end, if the host wants the batch's tokens."""
        if not self._request.stream:
            return
        assert sequence.index is not None
        self.ledger.send(
            self.job,
            BatchToken(
                id=self.job.id,
                index=sequence.index,
                seq=sequence.seq,
                token=text,
                token_id=token_id,
                flush=True,
            ),
        )

    def end_sequence(self, sequence: Sequence, reason: FinishReason) -> None:
        """Send the item of a prompt whose text has ended."""
        sequence.flush()
        assert sequence.index is not None
        told: dict[str, Any] = {
            "id": self.job.id,
            "index": sequence.index,
            "text": "".join(sequence.pieces),
            "token_ids": sequence.token_ids,
            "finish_reason": reason,
            "tokens_generated": sequence.generated,
        }
        form = sequence.form()
        self._complete(
            BatchItem(**told) if form is None else FormattedItem(**told, **form._asdict())
        )

    def fail_sequence(self, sequence: Sequence, error: Exception) -> None:
        """Send the item of a prompt that failed, with its error."""
        assert sequence.index is not None
        self._complete(self._failed_item(sequence.index, error))

    @property
    def _request(self) -> Batch:
        assert isinstance(self.job.command, Batch)
        return self.job.command

    def _complete(self, item: BatchItem) -> None:
        """Send one prompt's item; end the batch after the last one."""
        told = 0 if self._request.stream else item.tokens_generated
        self.ledger.send(self.job, item, tokens=told)
        self._unfinished -= 1
        if not self._unfinished:
            self.ledger.finish(self.job)

    def _failed_item(self, index: int, error: Exception) -> BatchItem:
        return BatchItem(
            id=self.job.id,
            index=index,
            text="",
            token_ids=[],
            finish_reason=None,
            tokens_generated=0,
            error=error_body(failure_of(error)),
        )
