"""The table of answers with thoughts and tool calls, and of tool calls that a worker must not send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .bad_replies import VIOLATION, Line, changed, ended_by
from .cells import Cell, Message
from .stopping import asking, done, reply

TOKEN = reply("chat", 0)
THOUGHT: Message = {**TOKEN, "token": "hm", "channel": "thinking"}
HELD: Message = {**reply("chat", 1), "token": "!", "flush": True}
BEGUN: Message = {"type": "tool_call", "seq": 1, "index": 0, "call_id": "c1", "name": "add"}
PART: Message = {"type": "tool_call", "seq": 2, "index": 0, "arguments": '{"a":'}
REST: Message = {**PART, "seq": 3, "arguments": "1}"}
CALL: Message = {
    "index": 0,
    "call_id": "c1",
    "name": "add",
    "arguments": '{"a":1}',
    "arguments_error": None,
}
LAST: Message = {
    **done(1),
    "finish_reason": "tool_calls",
    "tool_calls": [CALL],
    "tool_error": None,
}
PLAIN_LAST: Message = {**done(1), "tool_calls": [], "tool_error": None}
BROKEN: Message = {"index": None, "message": "no JSON", "text": "{", "cut_off": True}

FORBIDDEN: dict[str, list[Line]] = {
    "seq_gap": [TOKEN, changed(BEGUN, seq=2)],
    "seq_of_the_token": [TOKEN, changed(BEGUN, seq=0)],
    "seq_not_counted_by_the_next_token": [TOKEN, BEGUN, reply("chat", 1)],
    "seq_missing": [TOKEN, changed(BEGUN, "seq")],
    "seq_a_string": [TOKEN, changed(BEGUN, seq="1")],
    "index_missing": [TOKEN, changed(BEGUN, "index")],
    "index_negative": [TOKEN, changed(BEGUN, index=-1)],
    "index_a_string": [TOKEN, changed(BEGUN, index="0")],
    "call_id_a_number": [TOKEN, changed(BEGUN, call_id=1)],
    "name_a_list": [TOKEN, changed(BEGUN, name=["add"])],
    "arguments_an_object": [TOKEN, BEGUN, changed(PART, arguments={"a": 1})],
    "call_id_without_name": [TOKEN, changed(BEGUN, "name")],
    "name_without_call_id": [TOKEN, changed(BEGUN, "call_id")],
    "name_without_call_id_in_a_call": [TOKEN, BEGUN, changed(PART, name="add")],
    "neither_a_beginning_nor_arguments": [TOKEN, BEGUN, changed(PART, "arguments")],
    "arguments_null": [TOKEN, BEGUN, changed(PART, arguments=None)],
    "begun_twice": [TOKEN, BEGUN, changed(BEGUN, seq=2)],
    "first_call_not_0": [TOKEN, changed(BEGUN, index=1)],
    "index_left_out": [TOKEN, BEGUN, changed(BEGUN, seq=2, index=2)],
    "arguments_before_the_call": [TOKEN, changed(PART, seq=1)],
    "arguments_of_another_call": [TOKEN, BEGUN, changed(PART, index=1)],
    "marked_as_final": [TOKEN, changed(BEGUN, final=True)],
    "done_with_calls_a_text": [TOKEN, changed(LAST, tool_calls="add")],
    "done_with_a_call_without_name": [TOKEN, changed(LAST, tool_calls=[changed(CALL, "name")])],
    "done_with_a_call_with_arguments_an_object": [
        TOKEN,
        changed(LAST, tool_calls=[changed(CALL, arguments={})]),
    ],
    "done_with_tool_error_a_text": [TOKEN, changed(LAST, tool_error="no JSON")],
}
"""Lines for a `chat` with tools, which ends after the last of them unless that is a final."""

ALLOWED: dict[str, tuple[list[Line], Message]] = {
    "thought": ([THOUGHT, HELD, PLAIN_LAST], {"text": "!", "thoughts": "hm", "calls": []}),
    "held_thought": (
        [THOUGHT, changed(HELD, channel="thinking"), PLAIN_LAST],
        {"text": "", "thoughts": "hm!", "calls": []},
    ),
    "other_channel": (
        [changed(THOUGHT, channel="later"), HELD, PLAIN_LAST],
        {"text": "!", "thoughts": "", "calls": []},
    ),
    "call": (
        [TOKEN, BEGUN, PART, REST, LAST],
        {"text": " 0", "thoughts": "", "calls": [["c1", "add", '{"a":1}']]},
    ),
    "token_between_its_parts": (
        [TOKEN, BEGUN, PART, reply("chat", 3), changed(REST, seq=4), LAST],
        {"text": " 0 3", "thoughts": "", "calls": [["c1", "add", '{"a":1}']]},
    ),
    "two_calls": (
        [
            TOKEN,
            BEGUN,
            changed(BEGUN, seq=2, index=1, call_id="c2"),
            changed(LAST, tool_calls=[CALL, changed(CALL, index=1, call_id="c2")]),
        ],
        {"calls": [["c1", "add", '{"a":1}'], ["c2", "add", '{"a":1}']]},
    ),
    "parts_of_two_calls_in_turn": (
        [
            TOKEN,
            BEGUN,
            changed(BEGUN, seq=2, index=1, call_id="c2"),
            changed(REST, index=0),
            changed(REST, seq=4, index=1),
            changed(LAST, tool_calls=[CALL, changed(CALL, index=1, call_id="c2")]),
        ],
        {"calls": [["c1", "add", '{"a":1}'], ["c2", "add", '{"a":1}']]},
    ),
    "nulls": (
        [TOKEN, changed(BEGUN, arguments=None), changed(PART, call_id=None, name=None), LAST],
        {"calls": [["c1", "add", '{"a":1}']]},
    ),
    "call_that_is_void": (
        [TOKEN, BEGUN, PART, changed(PLAIN_LAST, tool_error=BROKEN)],
        {"calls": [], "tool_error": "no JSON"},
    ),
    "unknown_field": (
        [TOKEN, changed(BEGUN, note=1), changed(LAST, tool_calls=[changed(CALL, note=1)])],
        {"calls": [["c1", "add", '{"a":1}']]},
    ),
    "more_parts_than_a_window": (
        [TOKEN, BEGUN, *(changed(PART, seq=2 + n) for n in range(5000)), LAST],
        {"calls": [["c1", "add", '{"a":1}']]},
    ),
    "done_of_an_older_worker": ([TOKEN, done(1)], {"text": " 0", "thoughts": "", "calls": []}),
}
"""Lines for a `chat` with tools that end well, and what its answer has."""


def cells() -> Iterator[Cell]:
    """Yield a cell for each entry of the tables."""
    violation = {"outcome": VIOLATION, "beside": VIOLATION}
    for name, lines in FORBIDDEN.items():
        yield _cell(f"calls/bad/{name}", "read", ended_by(lines, PLAIN_LAST), violation)
    for command in ("generate", "chat", "batch"):
        lines = ended_by([changed(BEGUN, seq=0)], done(0))
        name = f"calls/bad/{command}_without_tools"
        yield _cell(name, "read", lines, violation, command=command, tools=False)
    for name, (lines, due) in ALLOWED.items():
        due = {"outcome": "ok", "tool_error": None, **due}
        yield _cell(f"calls/good/{name}", "answer", lines, due)


def _cell(
    name: str,
    do: str,
    lines: list[Line],
    due: Message,
    *,
    command: str = "chat",
    tools: bool = True,
) -> Cell:
    beside = json.dumps({"now": [reply("generate", 0)]})
    ask: dict[str, Any] = {"do": do, "tools": tools, **asking(command, {"now": lines})}
    if do == "read":
        ask["beside"] = beside
    return Cell(name, ask, due)
