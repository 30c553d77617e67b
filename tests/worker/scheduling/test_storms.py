"""Hundreds of requests with cancels at random moments: one final each, and texts unharmed."""

from __future__ import annotations

import random

import pytest

from mlxwire_worker.mock.engine import MockEngine
from support.memory_host import MemoryHost

REQUESTS = 300


@pytest.mark.parametrize("seed", range(6))
def test_in_a_storm_every_request_gets_exactly_one_final(seed: int) -> None:
    dice = random.Random(seed)
    host = MemoryHost(MockEngine(), max_inflight=dice.choice([8, 64, 4096]))
    host.hello()
    host.load(parallel_slots=dice.choice([1, 3, 32]))
    prompts: dict[str, str] = {}
    sent: list[str] = []
    for number in range(REQUESTS):
        cmd, fields = random_request(dice, number, sent)
        request_id = host.send(cmd, **fields)
        sent.append(request_id)
        if cmd == "generate":
            prompts[request_id] = fields["prompt"]
        while dice.random() < 0.3 and not host.no_more():
            host.receive()

    for request_id in sent:
        host.final(request_id)
    assert host.ask("metrics")["in_flight"] == 0

    assert host.no_more()
    for request_id in sent:
        assert len(host.finals(request_id)) == 1
        assert host.messages[request_id][-1].get("final")
    for request_id, prompt in prompts.items():
        check_stream(host, request_id, prompt)


def random_request(
    dice: random.Random, number: int, sent: list[str]
) -> tuple[str, dict[str, object]]:
    kind = dice.random()
    if kind < 0.5:
        words = " ".join(f"w{number}x{place}" for place in range(dice.randrange(1, 40)))
        return "generate", {"prompt": words}
    if kind < 0.85 and sent:
        recent = sent[-12:]
        return "cancel", {"target": dice.choice(recent)}
    if kind < 0.88:
        return "cancel", {}
    if kind < 0.91:
        return "load", {"path": f"m{number}", "parallel_slots": dice.choice([1, 4])}
    if kind < 0.92:
        return "unload", {}
    if kind < 0.95:
        return "classify", {"prompts": ["a", "b", "c"], "labels": ["x", "y"]}
    return dice.choice(["info", "metrics"]), {}


def check_stream(host: MemoryHost, request_id: str, prompt: str) -> None:
    final = host.finals(request_id)[0]
    tokens = [m for m in host.messages[request_id] if m["type"] == "token"]
    assert [token["seq"] for token in tokens] == list(range(len(tokens)))
    assert prompt.startswith(host.text(request_id))
    if final["type"] == "done":
        assert final["tokens_generated"] == len(tokens)
        assert (final["finish_reason"] == "stop") == (host.text(request_id) == prompt) or (
            final["finish_reason"] == "cancelled"
        )
    else:
        assert final["error"]["code"] in ("overloaded", "model_not_loaded")
        assert not tokens
