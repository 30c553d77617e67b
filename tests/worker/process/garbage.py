"""Lines that a host should not send: noise, broken JSON, and requests that nearly fit."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

REQUESTS: list[dict[str, Any]] = [
    {"cmd": "hello", "protocols": [1], "require": ["generate"]},
    {"cmd": "load", "path": "no/such/folder", "context_len": 64, "parallel_slots": 1},
    {"cmd": "info"},
    {
        "cmd": "generate",
        "prompt": "a b c",
        "max_tokens": 2,
        "temperature": 0.5,
        "top_k": 4,
        "top_p": 0.5,
        "min_p": 0.1,
        "repeat_penalty": 1.5,
        "seed": 1,
        "stop": ["b"],
        "stop_tokens": [1],
        "ignore_eos": False,
    },
    {
        "cmd": "chat",
        "messages": [{"role": "user", "content": "a b"}],
        "max_tokens": 1,
        "thinking": True,
    },
    {"cmd": "classify", "prompts": ["a", "b"], "logits": False, "labels": ["x", "y"]},
    {"cmd": "cancel", "target": "nobody"},
    {"cmd": "metrics"},
]
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2**31, 2**53, 2**63, 2**64, 10**30, 0.5, -0.5, 1e308, 5.0]),
    st.sampled_from(["", "a", "\x00", "<|im_end|>", "\u2028", "🚀", "x" * 5000]),
    st.sampled_from([[], {}, [None], [[]], [""], ["a", 1], {"a": {}}, [{"role": "user"}]]),
    st.just([{"role": "user", "content": None}]),
)
IDS: st.SearchStrategy[Any] = st.one_of(
    st.uuids().map(str),
    st.uuids().map(str),
    st.sampled_from(["twice", "", "x" * 129, "é" * 65, None, 7, ["r"], {"a": 1}, True]),
)

KEPT = frozenset({"target", "path", "context_len"})
"""Values of these could hit the neighbours: cancel them, or leave them a context of one token."""


@st.composite
def near_misses(draw: st.DrawFn) -> bytes:
    """Draw a good request with up to three fields that are not."""
    request = dict(draw(st.sampled_from(REQUESTS)))
    request["id"] = draw(IDS)
    fields = st.sampled_from([*request, "unknown", "CMD", "prompt "])
    for name in draw(st.lists(fields, max_size=3)):
        change = draw(st.sampled_from(["replace", "drop"]))
        if change == "drop":
            request.pop(name, None)
        elif name not in KEPT:
            request[name] = draw(VALUES)
    if request.get("cmd") == "cancel":
        request.setdefault("target", "nobody")
    return json.dumps(request, ensure_ascii=draw(st.booleans())).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a request with a byte changed, cut off, or put twice."""
    line = draw(near_misses())
    place = draw(st.integers(0, len(line)))
    harmful = draw(
        st.sampled_from([b"", b'"', b"\\", b"}", b"\xff", b"\xed\xa0\x80", b"\0", b","])
    )
    rest = draw(st.sampled_from([line[place:], line[place + 1 :], b"", line[:place]]))
    return line[:place] + harmful + rest


NOISE = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.sampled_from(
        [
            b"{}",
            b"[]",
            b"null",
            b"1e400",
            b"NaN",
            b'{"id":"n","cmd":"generate","prompt":"a","temperature":NaN}',
            b"\xef\xbb\xbf{}",
            b"[" * 5000,
            b'{"a":' * 2000 + b"1" + b"}" * 2000,
            b'{"id":"d","id":"e","cmd":"metrics"}',
            b'{"cmd":"metrics"}',
            b'{"id":"long","cmd":"' + b"m" * 70_000 + b'"}',
            b'{"id":"\\ud800","cmd":"metrics"}',
        ]
    ),
)


def is_safe(line: bytes) -> bool:
    """Return True if the line is one line that asks for an answer and does not end the worker."""
    text = line.strip(b" \t\r")
    return bool(text) and b"\n" not in line and b"quit" not in line and b"unload" not in line


GARBAGE = st.one_of(near_misses(), damaged(), NOISE).filter(is_safe)
