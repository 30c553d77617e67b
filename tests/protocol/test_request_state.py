"""The order of the replies to one request, as both ends check it (SPEC §2)."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_protocol import WireError
from mlxwire_protocol.request_state import TRANSITIONS, RequestState, replies_to

KINDS: dict[str, dict[str, Any]] = {
    "progress": {},
    "token": {"seq": 0},
    "tool_call": {"seq": 0, "index": 0, "call_id": "c", "name": "f"},
    "item": {"index": 0},
    "done": {"final": True},
    "result": {"final": True},
    "error": {"final": True},
    "unheard_of": {},
    "unheard_of_final": {"final": True},
}
BEGINNING = {"index": 0, "call_id": "c", "name": "f"}
LEGAL = {
    "open": set(KINDS),
    "streaming": set(KINDS) - {"result"},
    "ended": set[str](),
}


def in_state(state: str) -> RequestState:
    request = RequestState("r1")
    if state == "streaming":
        request.advance("item", {"index": 0})
    if state == "ended":
        request.advance("result", {"final": True})
    assert request.state == state
    return request


@pytest.mark.parametrize("state", LEGAL)
@pytest.mark.parametrize("kind", KINDS)
def test_every_state_takes_or_refuses_every_kind_of_reply(state: str, kind: str) -> None:
    request = in_state(state)
    if kind in LEGAL[state]:
        request.advance(kind, KINDS[kind])
        assert request.ended is KINDS[kind].get("final", False)
        return
    with pytest.raises(WireError) as caught:
        request.advance(kind, KINDS[kind])
    assert caught.value.code == "protocol_violation"
    assert request.state == state


@pytest.mark.parametrize("kind", sorted({kind for _, kind in TRANSITIONS}))
@pytest.mark.parametrize("final", [True, False, None, 1, "true"])
def test_final_is_true_on_finals_and_on_nothing_else(kind: str, final: Any) -> None:
    message = {**KINDS[kind], "final": final}
    request = RequestState("r1")
    if (final is True) == KINDS[kind].get("final", False):
        request.advance(kind, message)
        return
    with pytest.raises(WireError, match="wrong `final`"):
        request.advance(kind, message)
    assert request.state == "open"


def tokens(*seqs: Any, **more: Any) -> RequestState:
    request = RequestState("r1")
    for seq in seqs:
        request.advance("token", {"seq": seq, **more})
    return request


@pytest.mark.parametrize(
    "seqs", [(1,), (-1,), (0, 0), (0, 2), (0, 1, 1), (0, 1, 0), ("0",), (None,)]
)
def test_a_gap_or_a_repeat_in_seq_is_a_violation(seqs: tuple[Any, ...]) -> None:
    with pytest.raises(WireError, match="seq"):
        tokens(*seqs)


def test_tokens_are_counted_and_flushed_text_is_not() -> None:
    request = tokens(0, 1)
    request.advance("token", {"seq": 2, "flush": True})
    assert request.tokens == 2


def test_each_index_counts_its_own_seq() -> None:
    request = RequestState("r1")
    for index, seq in [(0, 0), (1, 0), (0, 1), (1, 1)]:
        request.advance("token", {"seq": seq, "index": index})
    with pytest.raises(WireError):
        request.advance("token", {"seq": 1, "index": 1})


@pytest.mark.parametrize("index", [[], {}, "0", 0.5, True])
def test_an_index_that_is_no_integer_is_a_violation(index: Any) -> None:
    with pytest.raises(WireError) as caught:
        tokens(0, index=index)
    assert caught.value.code == "protocol_violation"


def test_a_missing_seq_is_a_violation() -> None:
    with pytest.raises(WireError):
        RequestState("r1").advance("token", {})


def test_the_short_way_for_tokens_agrees_with_the_long_one() -> None:
    short = RequestState("r1")
    assert short.advance_token(0, None, False)
    assert not short.advance_token(0, None, False)
    assert not short.advance_token(2, None, False)
    assert short.advance_token(1, None, True)
    assert (short.state, short.tokens) == ("streaming", 1)
    with pytest.raises(WireError):
        short.advance("result", {"final": True})
    short.advance("done", {"final": True})
    assert not short.advance_token(2, None, False)


def test_parts_of_tool_calls_share_the_numbers_of_the_tokens() -> None:
    request = RequestState("r1", replies_to("chat", {"tools": [{"type": "function"}]}))
    request.advance("token", {"seq": 0})
    request.advance("tool_call", {"seq": 1, "index": 0, "call_id": "c", "name": "f"})
    request.advance("tool_call", {"seq": 2, "index": 0, "arguments": "{}"})
    assert request.advance_token(3, None, flush=False)
    assert request.tokens == 2
    with pytest.raises(WireError, match="seq 3, but 4"):
        request.advance("tool_call", {"seq": 3, "index": 1, "call_id": "d", "name": "f"})


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([{"index": 0, "call_id": "c"}], "only one of"),
        ([{"index": 0, "name": "f"}], "only one of"),
        ([{"index": 0, "name": "f", "arguments": "{}"}], "only one of"),
        ([{"index": 0}], "neither"),
        ([{"index": 0, "arguments": None}], "neither"),
        ([{"index": 0, "arguments": "{}"}], "had not begun"),
        ([{"index": 1, "call_id": "c", "name": "f"}], "began where 0"),
        ([BEGINNING, BEGINNING], "began where 1"),
        ([BEGINNING, {"index": 1, "arguments": "{}"}], "had not begun"),
    ],
)
def test_a_part_of_a_tool_call_begins_a_call_or_goes_on_with_one(
    parts: list[dict[str, Any]], why: str
) -> None:
    request = RequestState("r1", replies_to("chat", {"tools": [{"type": "function"}]}))
    *before, last = [{"seq": seq, **part} for seq, part in enumerate(parts)]
    for part in before:
        request.advance("tool_call", part)
    with pytest.raises(WireError, match=why):
        request.advance("tool_call", last)


def test_a_request_without_tools_has_no_tool_calls() -> None:
    request = RequestState("r1", replies_to("chat", {}))
    with pytest.raises(WireError, match="no tools"):
        request.advance("tool_call", {"seq": 0, "index": 0, "arguments": "{}"})


def test_a_tool_call_without_its_place_is_malformed() -> None:
    request = RequestState("r1")
    with pytest.raises(WireError, match="malformed"):
        request.advance("tool_call", {"seq": 0, "arguments": "{}"})
