"""A deadline is kept wherever the request is, also where nothing else wakes the worker."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from support.conversation import ENDLESS
from support.gated_engine import GatedEngine
from support.memory_host import Connect
from support.patience import PATIENCE_SECONDS
from support.skipping_clock import SkippingClock


def test_a_deadline_is_kept_while_the_prompt_is_being_prepared(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect()
    engine.open()
    prepare, leave = engine.text_prompt, threading.Event()

    def slowly(*arguments: Any, **options: Any) -> Any:
        leave.wait(PATIENCE_SECONDS)
        return prepare(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "text_prompt", slowly)
        late = host.send("generate", prompt="x", deadline_seconds=0.3)
        error = host.final(late)["error"]
        leave.set()

    assert (error["code"], error["data"]["stage"]) == ("deadline_exceeded", "queued")
    assert host.ask("generate", prompt="a b", deadline_seconds=60)["tokens_generated"] == 2
    assert len(host.finals(late)) == 1


def test_a_request_that_was_cancelled_in_time_ends_as_cancelled_after_its_deadline(
    connect: Connect, engine: GatedEngine, clock: SkippingClock
) -> None:
    host = connect()
    target = host.send("generate", **ENDLESS, deadline_seconds=1000)
    engine.wait_at_gate()
    host.ask("cancel", target=target)
    clock.skip(2000)
    engine.allow()

    assert host.final(target)["finish_reason"] == "cancelled"
