"""An engine that raises where it never should fails the requests at fault, and the loop goes on."""

from __future__ import annotations

import pytest

from support.conversation import ENDLESS
from support.gated_engine import GatedEngine
from support.memory_host import Connect


class Broken(Exception):
    """The engine is broken."""


def broken(*_: object) -> bool:
    raise Broken


def test_an_engine_that_cannot_tell_its_room_fails_the_requests_that_ask_for_it(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = connect(slots=4)
    engine.open()
    running = host.send("generate", **ENDLESS)
    host.first_token(running)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "has_room", broken)
        asked = [host.send("generate", prompt="a b") for _ in range(3)]
        batch = host.ask("batch", prompts=["a b", "c"])

        assert [host.final(one)["error"]["code"] for one in asked] == ["internal"] * 3
        items = [each for each in host.messages[batch["id"]] if each["type"] == "item"]
        assert [item["error"]["code"] for item in items] == ["internal"] * 2

    assert host.ask("generate", prompt="a b")["tokens_generated"] == 2
    assert not host.finals(running)


@pytest.mark.parametrize("runs", [False, True], ids=["idle", "busy"])
def test_an_exception_that_the_loop_would_meet_again_ends_the_jobs_at_fault(
    connect: Connect, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    host = connect(slots=4)
    engine.open()
    ids = []
    if runs:
        ids.append(host.send("generate", **ENDLESS))
        host.first_token(ids[0])
    with monkeypatch.context() as patch:
        patch.setattr(type(engine), "slots", property(broken))
        ids += [host.send("generate", prompt="a b") for _ in range(2)]

        assert [host.final(one)["error"]["code"] for one in ids] == ["internal"] * len(ids)

    assert host.ask("generate", prompt="a b")["tokens_generated"] == 2
