"""`classify`: choose the token, or score the labels, that may follow each prompt."""

from __future__ import annotations

import time

from mlxwire_protocol.messages import Classify
from mlxwire_protocol.replies import Item

from ..prompts import Classified, ClassifyPrompts, SamplingParams
from .operation import OnePass


class ClassifyOperation(OnePass):
    """A `classify` request, whose prompts are computed in groups, slice by slice."""

    __slots__ = ("_prompts",)

    _prompts: ClassifyPrompts

    def prepare(self) -> None:
        """Tokenize the prompts and labels."""
        request = self.job.command
        assert isinstance(request, Classify)
        params = drawing_params(request)
        self.engine.check_params(params)
        self._prompts = self.engine.classify_prompts(
            request.prompts, request.labels or [], logits=request.logits, params=params
        )
        self.job.prompt_tokens = sum(map(len, self._prompts.prompts))

    @property
    def over(self) -> bool:
        """Return True once every prompt's item has been sent."""
        return not self._prompts.left

    def step(self) -> bool:
        """Compute one slice and send the items that it completes; end the job after the last."""
        job = self.job
        items = self.engine.classify(self._prompts)
        if not items:
            return False
        job.last_token_at = time.perf_counter()
        job.first_token_at = job.first_token_at or job.last_token_at
        job.batch_size = max(job.batch_size, len(items))
        for index, item in items:
            self.ledger.send(job, self._item(index, item))
        if self.over:
            self.ledger.finish(job)
        return True

    def _item(self, index: int, item: Classified) -> Item:
        return Item(
            id=self.job.id,
            index=index,
            token=item.text,
            token_id=item.token_id,
            logprob=item.logprob,
            logits=item.logits,
            labels=item.labels,
        )


def drawing_params(request: Classify) -> SamplingParams:
    """Convert the options that choose a prompt's token to the engine's type."""
    return SamplingParams(
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        min_p=request.min_p,
        seed=request.seed,
    )
