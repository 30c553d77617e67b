"""What is known of one sequence on its way from the engine to the host."""

from __future__ import annotations

import time

from ..engine import Prompt
from ..output.text import TextAssembler
from ..requests.job import Job


class Stream:
    """One sequence: of a job's own, or the one at ``index`` of a batch's."""

    __slots__ = (
        "index",
        "job",
        "last_token_id",
        "pieces",
        "plain",
        "prompt",
        "reported",
        "seq",
        "text",
        "token_ids",
    )

    def __init__(self, job: Job, prompt: Prompt, index: int | None) -> None:
        self.job = job
        self.prompt = prompt
        self.index = index
        asked = prompt.request
        self.text = TextAssembler(prompt.detokenizer, asked.stop_strings, asked.min_tokens)
        self.reported = time.perf_counter()
        self.last_token_id: int | None = None
        self.token_ids: list[int] = []
        self.pieces: list[str] = []
        self.seq = 0
        self.plain = index is None and not asked.logprobs

    @property
    def generated(self) -> int:
        """Tokens so far, stop tokens aside."""
        return len(self.token_ids)
