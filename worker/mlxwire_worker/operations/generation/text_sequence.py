"""A sequence whose whole text is the answer: a raw prompt's, or that of a model without channels."""

from __future__ import annotations

from mlxwire_protocol.replies import FinishReason

from ...output.text import TextAssembler
from ...prompts import Prompt, Sampled
from .sequence import Generating, Sequence


class TextSequence(Sequence):
    """One prompt of an operation, each of whose tokens is text."""

    __slots__ = ("_plain", "_text")

    def __init__(self, operation: Generating, prompt: Prompt, index: int | None = None) -> None:
        super().__init__(operation, prompt, index)
        params = prompt.params
        self._text = TextAssembler(prompt.detokenizer, params.stop_strings, params.min_tokens)
        self._plain = index is None and not params.logprobs

    def take(self, sampled: Sampled) -> FinishReason | None:
        """Send one token; return the finish reason if it was the last one, else None."""
        operation, prompt, token_id = self.operation, self.prompt, sampled.token_id
        if (ended := self.begin_token(token_id)) is not None:
            return ended
        job = operation.job
        text = self._text.add_token(token_id)
        if self._plain:
            if prompt.constraint is not None:
                self.pieces.append(text)
            operation.ledger.send_token(job, text, token_id)
        else:
            self.pieces.append(text)
            operation.send_token(self, text, sampled)
            job.generated += 1
        return self.end_of_token(stopped=self._text.stopped)

    def flush(self) -> None:
        """Send the text that was held back, with the last token's id."""
        if self.last_token_id is None:
            return
        rest = self._text.finish()
        if rest:
            self.pieces.append(rest)
            self.operation.send_rest(self, rest, self.last_token_id)

    @property
    def stopped(self) -> bool:
        """Return True if a stop string has ended the text."""
        return self._text.stopped
