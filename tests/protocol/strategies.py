"""Hypothesis strategies for the wire: requests that are right, nearly right, and garbage.

Nothing here knows which end it is fed to, so the same lines serve a connection in memory and
a live worker.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from mlxwire_protocol.commands import COMMANDS

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=24)
WORDS = TEXT.filter(bool)
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=32)

SAMPLING = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(0, 64),
        "temperature": st.floats(0, 100),
        "top_k": st.integers(0, 1000),
        "top_p": st.floats(0, 1),
        "min_p": st.floats(0, 1),
        "repeat_penalty": st.floats(0, 1000),
        "seed": st.none() | st.integers(0, 2**53 - 1),
        "stop": WORDS | st.lists(WORDS, max_size=4),
        "stop_tokens": st.lists(st.integers(0, 2**31 - 1), max_size=4),
        "ignore_eos": st.booleans(),
        "min_tokens": st.integers(0, 64),
        "presence_penalty": st.floats(-100, 100),
        "frequency_penalty": st.floats(-100, 100),
        "penalty_window": st.integers(0, 64),
        "logit_bias": st.dictionaries(
            st.integers(0, 512).map(str), st.floats(-100, 100), max_size=3
        ),
        "xtc_probability": st.floats(0, 1),
        "xtc_threshold": st.floats(0, 0.5),
        "logprobs": st.booleans(),
        "top_logprobs": st.integers(0, 64),
        "cache": st.booleans(),
        "window": st.none() | st.integers(1, 1000),
        "deadline_seconds": st.none() | st.floats(1, 1000),
    },
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXT}
    ),
    min_size=1,
    max_size=4,
)


def _joined(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda dicts: {k: v for d in dicts for k, v in d.items()})


FIELDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "load": st.fixed_dictionaries(
        {"path": WORDS},
        optional={
            "context_len": st.none() | st.integers(1, 10**6),
            "adapter_path": st.none() | WORDS,
            "parallel_slots": st.none() | st.integers(1, 4096),
            "warmup": st.booleans(),
            "context_policy": st.sampled_from(["refuse", "rotate"]),
            "kv_bits": st.none() | st.sampled_from([2, 3, 4, 6, 8]),
            "kv_group_size": st.sampled_from([32, 64, 128]),
            "memory_limit": st.none() | st.integers(0, 2**40),
            "prompt_cache_limit": st.none() | st.integers(0, 2**40),
            "prefill_seconds": st.floats(0.001, 60),
        },
    ),
    "unload": st.just({}),
    "info": st.just({}),
    "generate": _joined(st.fixed_dictionaries({"prompt": WORDS}), SAMPLING),
    "chat": _joined(
        st.fixed_dictionaries(
            {"messages": MESSAGES},
            optional={"thinking": st.booleans(), "special_tokens": st.booleans()},
        ),
        SAMPLING,
    ),
    "classify": st.fixed_dictionaries(
        {"prompts": st.lists(WORDS, min_size=1, max_size=4)},
        optional={
            "logits": st.booleans(),
            "separator": WORDS,
            "labels": st.lists(WORDS, min_size=1, max_size=3),
            "temperature": st.floats(0, 100),
            "seed": st.integers(0, 2**53 - 1),
        },
    ),
    "batch": _joined(
        st.fixed_dictionaries(
            {"prompts": st.lists(WORDS, min_size=1, max_size=4)},
            optional={"stream": st.booleans()},
        ),
        SAMPLING,
    ),
    "credit": st.fixed_dictionaries({"target": IDS, "n": st.integers(1, 2**53 - 1)}),
    "cache": st.fixed_dictionaries(
        {},
        optional={
            "action": st.sampled_from(["stats", "clear", "warm"]),
            "prompt": st.none() | WORDS,
            "messages": st.none() | MESSAGES,
        },
    ),
    "memory": st.fixed_dictionaries({}, optional={"clear": st.booleans()}),
    "cancel": st.fixed_dictionaries({}, optional={"target": st.none() | IDS}),
    "metrics": st.just({}),
    "quit": st.just({}),
}
"""Valid fields of every command that may follow `hello`."""

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def requests(*commands: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw a valid request without its id, of any command or one of those named."""
    names = commands or tuple(FIELDS)
    return st.sampled_from(names).flatmap(
        lambda name: FIELDS[name].map(lambda fields: {"cmd": name, **fields})
    )


@st.composite
def near_misses(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a request with something changed: a value, a name, an id; perhaps still right."""
    request = {"id": draw(IDS), **draw(requests())}
    for _ in range(draw(st.integers(1, 2))):
        known = [name for row in COMMANDS.values() for name in row.request.__struct_fields__]
        name = draw(st.sampled_from([*request, *known, "unknown", "ID", ""]))
        if draw(st.booleans()):
            request[name] = draw(JSON_VALUES)
        else:
            request.pop(name, None)
    return request


def line_of(value: Any) -> bytes:
    """Return a value as a line without its end; a NaN is written as Python does: no JSON."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def damaged_lines(draw: st.DrawFn) -> bytes:
    """Draw a request's line with bytes cut out, put in or repeated."""
    line = draw(near_misses().map(line_of))
    start = draw(st.integers(0, len(line)))
    end = draw(st.integers(start, min(len(line), start + 8)))
    return (
        line[:start] + draw(st.binary(max_size=4) | st.just(line[start:end] * 2)) + line[end:]
    )


GARBAGE = (
    near_misses().map(line_of)
    | damaged_lines()
    | JSON_VALUES.map(line_of)
    | st.binary(max_size=64)
    | st.sampled_from(
        [
            b"",
            b"\x00",
            b"[]",
            b"null",
            b"{",
            b"}",
            b"\xef\xbb\xbf{}",
            b"[" * 2000,
            b'{"id":NaN}',
        ]
    )
).map(lambda line: line.replace(b"\n", b" "))
"""Any one line, without its end: a request, nearly one, or none at all."""
