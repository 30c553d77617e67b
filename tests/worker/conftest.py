from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.gated_engine import GatedEngine
from support.memory_host import Connect, MemoryHost
from support.skipping_clock import clock

__all__ = ["clock"]


@pytest.fixture
def engine() -> Iterator[GatedEngine]:
    """Yield a mock engine whose steps and loads wait for the test; at the end it runs free."""
    gated = GatedEngine()
    yield gated
    gated.open()


@pytest.fixture
def connect(engine: GatedEngine) -> Iterator[Connect]:
    """Yield a function that makes a host in memory with a model loaded.

    At the end all requests are cancelled: one without an end would compute on beside every
    later test.
    """
    hosts: list[MemoryHost] = []

    def make(*, slots: int = 8, max_inflight: int = 4096) -> MemoryHost:
        host = MemoryHost(engine, max_inflight=max_inflight)
        hosts.append(host)
        host.hello()
        engine.allow()
        host.load(parallel_slots=slots, context_len=10**6)
        return host

    yield make
    for host in hosts:
        host.session.cancel_all()
