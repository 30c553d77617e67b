"""Every transcript against a worker process and, cut anywhere, against the core in memory."""

from __future__ import annotations

import os
import sys

import pytest

from conformance.core_peer import CorePeer
from conformance.process_host import ProcessHost
from conformance.transcript import Transcript, follow, load_transcripts

COMMAND = os.environ.get(
    "MLXWIRE_WORKER", f"{sys.executable} -P -m mlxwire_worker --engine mock"
).split()
"""The worker to try; another implementation can be named in the environment."""

TRANSCRIPTS = load_transcripts()
IN_MEMORY = [each for each in TRANSCRIPTS if not each.needs_process]
LONG = 1 << 20
NOT_FOLLOWED_YET: dict[str, str] = {}
"""Transcripts that the worker breaks, and why; an entry goes when its fault does."""


def output(transcript: Transcript, chunks: list[bytes]) -> list[bytes]:
    """Return all that the core answers to the host's bytes, given in these chunks."""
    worker = CorePeer()
    for chunk in chunks:
        worker.write(chunk)
    if any(step.kind == "eof" for step in transcript.steps):
        worker.close_input()
    return list(iter(worker.read_line, None))


@pytest.mark.parametrize(
    "transcript",
    [
        pytest.param(
            each,
            id=each.name,
            marks=[pytest.mark.xfail(strict=True, reason=NOT_FOLLOWED_YET[each.name])]
            if each.name in NOT_FOLLOWED_YET
            else [],
        )
        for each in TRANSCRIPTS
    ],
)
def test_a_worker_process_follows(transcript: Transcript) -> None:
    with ProcessHost([*COMMAND, *transcript.worker_arguments]) as host:
        follow(transcript, host)


@pytest.mark.parametrize("transcript", IN_MEMORY, ids=lambda each: each.name)
def test_the_core_follows_step_by_step(transcript: Transcript) -> None:
    follow(transcript, CorePeer())


@pytest.mark.parametrize("transcript", IN_MEMORY, ids=lambda each: each.name)
def test_the_core_answers_the_same_however_the_stream_is_cut(transcript: Transcript) -> None:
    stream = transcript.stream
    whole = output(transcript, [stream])
    if len(stream) > LONG:
        cuts = [1, len(stream) // 3, len(stream) - 1]
    else:
        cuts = list(range(len(stream)))
        assert output(transcript, [bytes([byte]) for byte in stream]) == whole
    for cut in cuts:
        assert output(transcript, [stream[:cut], stream[cut:]]) == whole, cut
