"""Every bound of a request's field: its last value is served, the next is refused (SPEC §4)."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_protocol import WireError
from mlxwire_protocol.codec import convert_command

MOST = 2**53 - 1
REQUIRED: dict[str, dict[str, Any]] = {
    "hello": {"protocols": [1]},
    "load": {"path": "m"},
    "generate": {"prompt": "x"},
    "chat": {"messages": [{"role": "user", "content": "x"}]},
    "batch": {"prompts": ["x"]},
    "classify": {"prompts": ["x"]},
    "cancel": {},
    "credit": {"target": "a", "n": 1},
    "cache": {},
    "memory": {},
}


def turns(count: int, role: str = "user") -> list[dict[str, str]]:
    return [{"role": role, "content": ""}] * count


def biases(count: int, value: float = 1) -> dict[str, float]:
    return {str(token): value for token in range(count)}


BOUNDS: list[tuple[str, str, Any, Any]] = [
    ("hello", "protocols", [1] * 64, [1] * 65),
    ("hello", "client", {"name": "x" * 256}, {"name": "x" * 257}),
    ("hello", "client", {"version": "x" * 256}, {"version": "x" * 257}),
    ("hello", "require", ["x"] * 256, ["x"] * 257),
    ("hello", "events", ["x"] * 256, ["x"] * 257),
    ("load", "path", "x" * 4096, "x" * 4097),
    ("load", "adapter_path", "x" * 4096, "x" * 4097),
    ("load", "context_len", MOST, MOST + 1),
    ("load", "context_len", 1, 0),
    ("load", "parallel_slots", 1, 0),
    ("load", "parallel_slots", 4096, 4097),
    ("load", "kv_group_size", 128, 256),
    ("load", "memory_limit", 0, -1),
    ("load", "memory_limit", MOST, MOST + 1),
    ("load", "prompt_cache_limit", 0, -1),
    ("load", "prefill_seconds", 1e-9, 0),
    ("load", "prefill_seconds", 60, 60.5),
    ("generate", "max_tokens", 0, -1),
    ("generate", "max_tokens", MOST, MOST + 1),
    ("generate", "temperature", 0, -1e-9),
    ("generate", "temperature", 100, 100.1),
    ("generate", "top_k", MOST, MOST + 1),
    ("generate", "top_p", 0, -1e-9),
    ("generate", "top_p", 1, 1.001),
    ("generate", "min_p", 0, -1e-9),
    ("generate", "min_p", 1, 1.001),
    ("generate", "repeat_penalty", 0, -1e-9),
    ("generate", "repeat_penalty", 1000, 1000.1),
    ("generate", "seed", 0, -1),
    ("generate", "seed", MOST, MOST + 1),
    ("generate", "stop", "x" * 4096, "x" * 4097),
    ("generate", "stop", ["x" * 4096], ["x" * 4097]),
    ("generate", "stop", ["x"] * 64, ["x"] * 65),
    ("generate", "stop_tokens", [0, 2**31 - 1], [2**31]),
    ("generate", "stop_tokens", [0], [-1]),
    ("generate", "stop_tokens", [0] * 1024, [0] * 1025),
    ("generate", "min_tokens", 0, -1),
    ("generate", "presence_penalty", 100, 100.1),
    ("generate", "presence_penalty", -100, -100.1),
    ("generate", "frequency_penalty", 100, 100.1),
    ("generate", "frequency_penalty", -100, -100.1),
    ("generate", "penalty_window", 0, -1),
    ("generate", "logit_bias", biases(4096), biases(4097)),
    ("generate", "logit_bias", biases(1, 100), biases(1, 100.1)),
    ("generate", "logit_bias", biases(1, -100), biases(1, -100.1)),
    ("generate", "logit_bias", {"0": 1, "10": 1}, {"010": 1}),
    ("generate", "logit_bias", {"9" * 10: 1}, {"9" * 11: 1}),
    ("generate", "xtc_probability", 1, 1.001),
    ("generate", "xtc_probability", 0, -1e-9),
    ("generate", "xtc_threshold", 0.5, 0.501),
    ("generate", "xtc_threshold", 0, -1e-9),
    ("generate", "top_logprobs", 64, 65),
    ("generate", "top_logprobs", 0, -1),
    ("generate", "window", MOST, MOST + 1),
    ("generate", "window", 1, 0),
    ("generate", "deadline_seconds", 1e6, 1e6 + 1),
    ("generate", "deadline_seconds", 1e-9, 0),
    ("chat", "messages", turns(65536), turns(65537)),
    ("chat", "messages", turns(1), []),
    ("chat", "messages", turns(1, "x" * 64), turns(1, "x" * 65)),
    ("batch", "prompts", ["x"] * 65536, ["x"] * 65537),
    ("classify", "prompts", ["x"] * 65536, ["x"] * 65537),
    ("classify", "prompts", ["x"], []),
    ("classify", "labels", ["x"] * 1024, ["x"] * 1025),
    ("classify", "labels", ["x"], []),
    ("classify", "labels", ["x" * 4096], ["x" * 4097]),
    ("cancel", "target", "x" * 128, "x" * 129),
    ("credit", "n", MOST, MOST + 1),
    ("credit", "n", 1, 0),
    ("credit", "target", "x", ""),
    ("cache", "path", "x" * 4096, "x" * 4097),
    ("cache", "prompt", "x", ""),
    ("cache", "messages", turns(1), []),
    ("memory", "memory_limit", MOST, MOST + 1),
    ("memory", "prompt_cache_limit", 0, -1),
    ("memory", "buffer_limit", 0, -1),
    ("memory", "wired_limit", 0, -1),
]


@pytest.mark.parametrize(
    ("cmd", "field", "last", "beyond"),
    BOUNDS,
    ids=[f"{cmd}.{field} {str(beyond)[:20]}" for cmd, field, _, beyond in BOUNDS],
)
def test_the_last_value_is_served_and_the_next_refused(
    cmd: str, field: str, last: Any, beyond: Any
) -> None:
    request = {"id": "a", "cmd": cmd, **REQUIRED[cmd]}
    convert_command({**request, field: last})

    with pytest.raises(WireError) as caught:
        convert_command({**request, field: beyond})

    assert caught.value.code == "invalid_params"
    assert (caught.value.field or "").startswith(field)
