"""The `classify` requests that run: one slice of a group of prompts for each turn of the loop."""

from __future__ import annotations

import time
from collections import deque

from mlxwire_protocol import WireError
from mlxwire_protocol.replies import Done, Item

from ..engine import Classified, ClassifyPrompts, Engine
from ..requests.failures import failure_of
from ..requests.job import Job
from ..requests.session import Session


class Classifying:
    """Jobs in order of arrival, taking turns. On the engine's thread."""

    def __init__(self, engine: Engine, session: Session) -> None:
        self._engine = engine
        self._session = session
        self._jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def jobs(self) -> set[Job]:
        """Jobs with prompts left."""
        return set(self._jobs)

    def start(self, job: Job) -> None:
        """Take a prepared job."""
        self._jobs.append(job)

    def drop(self, jobs: set[Job]) -> None:
        """Forget jobs."""
        self._jobs = deque(job for job in self._jobs if job not in jobs)

    def step(self) -> None:
        """One slice of the first job's group; after the group it is the next job's turn."""
        job = self._jobs.popleft()
        prompts: ClassifyPrompts = job.prepared
        try:
            items = self._engine.classify(prompts)
        except Exception as error:
            self._session.fail(job, failure_of(error))
            return
        if not items:
            self._jobs.appendleft(job)
            return
        job.last_token = time.perf_counter()
        job.first_token = job.first_token or job.last_token
        job.batch_size = max(job.batch_size, len(items))
        try:
            for index, item in items:
                self._session.send(job, _item(job, index, item))
        except WireError as error:  # a row of logits longer than a line may be
            self._session.fail(job, error)
            return
        if prompts.left:
            self._jobs.append(job)
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


def _item(job: Job, index: int, item: Classified) -> Item:
    return Item(
        id=job.id,
        index=index,
        token=item.text,
        token_id=item.token_id,
        logprob=item.logprob,
        logits=item.logits,
        labels=item.labels,
    )
