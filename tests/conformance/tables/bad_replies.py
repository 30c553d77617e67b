"""The table of reply lines that a worker must not send, and of those that only look like it.

SPEC §2 gives the one verdict on the first: `protocol_violation` for every request in flight. The
second come from a later worker or from a careless writer, and change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .cells import Cell, Message
from .obedient_worker import METRICS
from .stopping import asking, done, reply

Line = str | Message
VIOLATION = "protocol_violation"


def changed(message: Message, *without: str, **fields: Any) -> Message:
    """Return a message with other fields, and without some of its own."""
    return {**{name: value for name, value in message.items() if name not in without}, **fields}


def raw(message: Message, **literals: str) -> str:
    """Return a line with the id, and with fields that are given as JSON text."""
    fields = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in message.items()]
    fields += [f"{json.dumps(name)}:{text}" for name, text in literals.items()]
    return "{" + ",".join(['"id":$id', *fields]) + "}"


def nameless(message: Message, **fields: Any) -> str:
    """Return a line without the id of its request."""
    return json.dumps({**message, **fields})


TOKEN, LAST = reply("generate", 0), done(1)
ITEM = reply("batch", 0)
CLASSIFIED = reply("classify", 0)
EMBEDDED = reply("embed", 0)
SCORED = reply("score", 0)
PROGRESS: Message = {"type": "progress", "stage": "prefill", "done": 0, "total": 1}
BATCH_TOKEN = {**TOKEN, "index": 0, "flush": False, "logprob": None, "top_logprobs": None}
EVENT: Message = {
    "type": "event",
    "event": "heartbeat",
    "data": {
        "phase": "idle",
        "steps": 1,
        "last_step_seconds": 0.0,
        "in_flight": 1,
        "queued": 0,
    },
}
ERROR: Message = {
    "type": "error",
    "final": True,
    "error": {"code": "internal", "message": "it broke", "retryable": False, "data": {}},
}

FORBIDDEN: dict[str, list[Line]] = {
    # Lines that are no message.
    "words": ["Loading model ..."],
    "half_an_object": ['{"id":$id,"type":"tok'],
    "trailing_comma": ['{"id":$id,"type":"token","seq":0,"token":"a","token_id":1,}'],
    "array": ["[1]"],
    "number": ["1"],
    "string": ['"hello"'],
    "null": ["null"],
    "two_objects_on_a_line": [raw(TOKEN) + raw(changed(TOKEN, seq=1))],
    "text_behind_an_object": [raw(TOKEN) + " ok"],
    # Numbers that JSON or a float64 lacks.
    "nan": [raw(TOKEN, logprob="NaN")],
    "infinity": [raw(TOKEN, logprob="-Infinity")],
    "1e400": [raw(TOKEN, logprob="1e400")],
    "minus_1e400": [raw(TOKEN, logprob="-1e400")],
    "1e400_in_an_unknown_field": [raw(TOKEN, note="1e400")],
    "1e400_deep_in_an_unknown_field": [raw(TOKEN, note='{"a":[0,1e400]}')],
    "1e400_in_an_unknown_type": [raw({"type": "surprise"}, note="1e400")],
    "1e400_in_the_final": [TOKEN, raw(LAST, note="1e400")],
    "1e400_in_an_event": ['{"id":null,"type":"event","event":"new","data":{"a":1e400}}'],
    "400_digits": [raw(TOKEN, note="1" * 400)],
    "leading_zero": [raw(TOKEN, note="01")],
    "deeper_than_1024_levels": [raw(TOKEN, note="[" * 1100 + "]" * 1100)],
    # The type.
    "no_type": [changed(TOKEN, "type")],
    "no_type_alone": [{}],
    "no_type_in_the_final": [TOKEN, changed(LAST, "type")],
    "type_null": [changed(TOKEN, type=None)],
    "type_a_number": [changed(TOKEN, type=7)],
    "type_a_list": [changed(TOKEN, type=["token"])],
    # The id.
    "token_without_id": [nameless(TOKEN)],
    "token_with_id_null": [nameless(TOKEN, id=None)],
    "item_without_id": [nameless(ITEM)],
    "progress_without_id": [
        nameless({"type": "progress", "stage": "load", "done": 0, "total": 1})
    ],
    "final_without_id": [TOKEN, nameless(LAST)],
    "final_with_id_null": [TOKEN, nameless(LAST, id=None)],
    "error_without_id": [nameless(ERROR)],
    "error_with_id_null": [nameless(ERROR, id=None)],
    "event_without_id": [nameless(EVENT)],
    "event_with_an_id": [EVENT],
    "unknown_type_with_id_null": [nameless({"type": "surprise"}, id=None)],
    "unknown_type_without_id": [nameless({"type": "surprise"})],
    "id_unknown": [nameless(TOKEN, id="nobody")],
    "id_empty": [nameless(TOKEN, id="")],
    "id_a_number": [nameless(TOKEN, id=1)],
    "id_a_list": [nameless(TOKEN, id=[])],
    # The final.
    "final_unmarked": [TOKEN, changed(LAST, "final")],
    "final_false": [TOKEN, changed(LAST, final=False)],
    "final_a_string": [TOKEN, changed(LAST, final="true")],
    "final_a_number": [TOKEN, changed(LAST, final=1)],
    "final_token": [changed(TOKEN, final=True)],
    "final_progress": [
        {"type": "progress", "stage": "x", "done": 0, "total": 1, "final": True}
    ],
    "result_for_done": [TOKEN, {"type": "result", "final": True, "ok": True}],
    "result_for_done_at_once": [{"type": "result", "final": True, "ok": True}],
    "done_without_finish_reason": [TOKEN, changed(LAST, "finish_reason")],
    "done_with_finish_reason_null": [TOKEN, changed(LAST, finish_reason=None)],
    "done_with_finish_reason_a_number": [TOKEN, changed(LAST, finish_reason=1)],
    "done_without_tokens_generated": [TOKEN, changed(LAST, "tokens_generated")],
    "done_with_tokens_generated_a_string": [TOKEN, changed(LAST, tokens_generated="1")],
    "done_with_tokens_generated_a_fraction": [TOKEN, changed(LAST, tokens_generated=1.5)],
    "done_without_metrics": [TOKEN, changed(LAST, "metrics")],
    "done_with_metrics_null": [TOKEN, changed(LAST, metrics=None)],
    "done_with_metrics_a_list": [TOKEN, changed(LAST, metrics=[])],
    "error_without_error": [changed(ERROR, "error")],
    "error_with_error_a_string": [changed(ERROR, error="it broke")],
    "error_without_code": [changed(ERROR, error={"message": "it broke"})],
    "error_without_message": [changed(ERROR, error={"code": "internal"})],
    "error_with_data_a_list": [changed(ERROR, error={**ERROR["error"], "data": []})],
    "error_with_code_a_number": [changed(ERROR, error={"code": 1, "message": "it broke"})],
    "error_with_data_null": [changed(ERROR, error={**ERROR["error"], "data": None})],
    "error_with_retryable_null": [changed(ERROR, error={**ERROR["error"], "retryable": None})],
    "error_unmarked": [changed(ERROR, "final")],
    "duplicate_id": [changed(ERROR, error={**ERROR["error"], "code": "duplicate_id"})],
    # Replies of other commands, and other fields.
    "item": [ITEM],
    "progress_without_stage": [changed(PROGRESS, "stage")],
    "progress_with_done_a_string": [changed(PROGRESS, done="0")],
    "event_without_name": [nameless(EVENT, id=None, event=None)],
    "progress_below_nothing": [changed(PROGRESS, done=-1)],
    "event_with_name_a_number": [nameless(EVENT, id=None, event=1)],
    "event_without_data": [nameless(changed(EVENT, "data"), id=None)],
    "event_with_data_a_list": [nameless(EVENT, id=None, event="eclipse", data=[])],
    "event_with_data_null": [nameless(EVENT, id=None, event="eclipse", data=None)],
    "event_marked_as_final": [nameless(EVENT, id=None, final=True)],
    "heartbeat_without_figures": [nameless(EVENT, id=None, data={})],
    "heartbeat_with_steps_a_string": [
        nameless(EVENT, id=None, data={**EVENT["data"], "steps": "1"})
    ],
    # The fields of a token.
    "token_without_text": [changed(TOKEN, "token")],
    "token_with_text_a_number": [changed(TOKEN, token=1)],
    "token_without_token_id": [changed(TOKEN, "token_id")],
    "token_with_token_id_a_string": [changed(TOKEN, token_id="1")],
    "likely_token_without_text": [
        changed(TOKEN, top_logprobs=[{"token_id": 1, "logprob": None}])
    ],
    "likely_token_without_logprob": [
        changed(TOKEN, top_logprobs=[{"token": "a", "token_id": 1}])
    ],
    "seq_missing": [changed(TOKEN, "seq")],
    "seq_a_string": [changed(TOKEN, seq="0")],
    "seq_gap": [TOKEN, changed(TOKEN, seq=2)],
    "seq_repeated": [TOKEN, TOKEN],
    "seq_negative": [changed(TOKEN, seq=-1)],
    "index_1": [changed(TOKEN, index=1)],
    "index_negative": [changed(TOKEN, index=-1)],
    "index_a_string": [changed(TOKEN, index="0")],
    "index_a_fraction": [raw(TOKEN, index="0.5")],
    "index_beyond_integers": [raw(TOKEN, index="9007199254740993")],
    "a_new_index_each": [changed(TOKEN, index=place) for place in range(3)],
}
"""Lines for a `generate`, which ends after the last of them unless that is a final."""

FORBIDDEN_IN_A_BATCH: dict[str, list[Line]] = {
    "token": [BATCH_TOKEN],
    "item_twice": [ITEM, ITEM],
    "item_index_is_the_number_of_prompts": [changed(ITEM, index=4)],
    "item_index_negative": [changed(ITEM, index=-1)],
    "item_without_index": [changed(ITEM, "index")],
    "item_index_a_string": [changed(ITEM, index="0")],
    "token_without_index": [TOKEN],
    "item_index_null": [changed(ITEM, index=None)],
    "item_without_text": [changed(ITEM, "text")],
    "item_with_token_ids_null": [changed(ITEM, token_ids=None)],
    "item_without_finish_reason": [changed(ITEM, "finish_reason")],
    "item_without_error": [changed(ITEM, "error")],
    "item_with_error_a_string": [changed(ITEM, error="it broke")],
    "item_with_error_without_code": [changed(ITEM, error={"message": "it broke"})],
    "item_with_error_without_message": [changed(ITEM, error={"code": "internal"})],
    "item_with_error_with_data_a_list": [changed(ITEM, error={**ERROR["error"], "data": []})],
    "1e400": [raw(ITEM, note="1e400")],
}
FORBIDDEN_IN_A_BATCH_THAT_STREAMS: dict[str, list[Line]] = {
    "token_index_is_the_number_of_prompts": [changed(BATCH_TOKEN, index=4)],
    "token_index_negative": [changed(BATCH_TOKEN, index=-1)],
    "token_without_index": [TOKEN],
    "token_seq_gap": [changed(BATCH_TOKEN, index=1), changed(BATCH_TOKEN, index=2, seq=1)],
    "token_after_its_item": [ITEM, BATCH_TOKEN],
}
FORBIDDEN_IN_A_CLASSIFY: dict[str, list[Line]] = {
    "token": [TOKEN],
    "item_index_is_the_number_of_prompts": [changed(CLASSIFIED, index=4)],
    "item_index_negative": [changed(CLASSIFIED, index=-1)],
    "item_twice": [CLASSIFIED, CLASSIFIED],
    "item_without_index": [changed(CLASSIFIED, "index")],
    "item_without_token": [changed(CLASSIFIED, "token")],
    "token_with_index": [BATCH_TOKEN],
    "item_without_logprob": [changed(CLASSIFIED, "logprob")],
    "item_with_logprob_a_string": [changed(CLASSIFIED, logprob="0")],
    "item_with_error_a_string": [changed(CLASSIFIED, error="it broke")],
    "1e400": [raw(CLASSIFIED, note="1e400")],
}
FORBIDDEN_IN_AN_EMBED: dict[str, list[Line]] = {
    "token": [TOKEN],
    "item_index_is_the_number_of_texts": [changed(EMBEDDED, index=4)],
    "item_twice": [EMBEDDED, EMBEDDED],
    "item_without_index": [changed(EMBEDDED, "index")],
    "item_without_embedding": [changed(EMBEDDED, "embedding")],
    "item_without_tokens": [changed(EMBEDDED, "tokens")],
    "item_with_numbers_in_place_of_base64": [changed(EMBEDDED, embedding=[1.0])],
    "item_with_no_base64": [changed(EMBEDDED, embedding="A?==")],
    "item_with_half_a_number": [changed(EMBEDDED, embedding="AAA=")],
    "item_with_error_without_code": [
        {"type": "item", "index": 0, "error": {"message": "it broke"}}
    ],
}
FORBIDDEN_IN_A_SCORE: dict[str, list[Line]] = {
    "item_index_is_the_number_of_texts": [changed(SCORED, index=4)],
    "item_twice": [SCORED, SCORED],
    "item_without_pieces": [changed(SCORED, "pieces")],
    "item_without_perplexity": [changed(SCORED, "perplexity")],
    "item_with_token_ids_null": [changed(SCORED, token_ids=None)],
    "item_with_logprobs_of_strings": [changed(SCORED, logprobs=["0"])],
}
AFTER_THE_END: dict[str, list[Line]] = {
    "second_done": [TOKEN, LAST, LAST],
    "token_after_done": [TOKEN, LAST, changed(TOKEN, seq=1)],
    "error_after_done": [TOKEN, LAST, ERROR],
}
"""The request itself has ended well; all others end with the violation."""

ALLOWED: dict[str, list[Line]] = {
    "unknown_field_in_a_token": [changed(TOKEN, note={"a": [1, None]})],
    "unknown_field_in_the_final": [
        TOKEN,
        changed(LAST, note="new", metrics={**METRICS, "new": 1}),
    ],
    "unknown_type": [{"type": "surprise", "note": 1}, TOKEN],
    "unknown_type_with_final_false": [{"type": "surprise", "final": False}, TOKEN],
    "token_marked_as_not_final": [changed(TOKEN, final=False)],
    "index_0": [changed(TOKEN, index=0)],
    "index_null": [changed(TOKEN, index=None)],
    "unknown_event": [nameless(EVENT, id=None, event="eclipse", data={"in": 1}), TOKEN],
    "event_nobody_asked_for": [nameless(EVENT, id=None), TOKEN],
    "1000_levels": [raw(TOKEN, note="[" * 1000 + "]" * 1000)],
    "unknown_finish_reason": [TOKEN, changed(LAST, finish_reason="later")],
    "unknown_stage": [{"type": "progress", "stage": "sifting", "done": 0, "total": 1}, TOKEN],
    "blank_lines": ["", " \t\r", TOKEN],
    "carriage_return": [raw(TOKEN) + "\r"],
    "spaces_around": [f"  {raw(TOKEN)}  "],
    "name_twice": [raw(changed(TOKEN, token="other"), token='" 0"')],
    "largest_float64": [raw(TOKEN, logprob="-1.7976931348623157e308")],
    "smaller_than_a_float64": [raw(TOKEN, logprob="-1e-400")],
}
"""Lines for a `generate` of one token; `done` follows if they have none."""

ERRORS: dict[str, list[Line]] = {
    "internal": [ERROR],
    "from_the_future": [changed(ERROR, error={**ERROR["error"], "code": "from_the_future"})],
    VIOLATION: [TOKEN, {"type": "surprise", "final": True}],
}
"""Errors of the one request: its worker's own, by code, and an end of an unknown type (SPEC §2)."""


def cells() -> Iterator[Cell]:
    """Yield a cell for each entry of the tables."""
    violation = {"outcome": VIOLATION, "beside": VIOLATION}
    for kind, command, table in (
        ("", "generate", FORBIDDEN),
        ("batch_", "batch", FORBIDDEN_IN_A_BATCH),
        ("streaming_batch_", "batch", FORBIDDEN_IN_A_BATCH_THAT_STREAMS),
        ("classify_", "classify", FORBIDDEN_IN_A_CLASSIFY),
        ("embed_", "embed", FORBIDDEN_IN_AN_EMBED),
        ("score_", "score", FORBIDDEN_IN_A_SCORE),
    ):
        for name, lines in table.items():
            cell = _cell(f"bad/{kind}{name}", command, ended_by(lines, LAST), **violation)
            yield replace(cell, ask={**cell.ask, "stream": kind == "streaming_batch_"})
    for name, lines in AFTER_THE_END.items():
        yield _cell(f"bad/{name}", "generate", lines, outcome="ok", taken=1, beside=VIOLATION)
    for name, lines in ALLOWED.items():
        ended = ended_by(lines, LAST)
        yield _cell(f"good/{name}", "generate", ended, outcome="ok", taken=1, beside=None)
    for command in ("classify", "embed", "score"):
        failed: Message = {"type": "item", "index": 0, "error": ERROR["error"]}
        lines = [failed, changed(reply(command, 1), note="new"), LAST]
        yield _cell(
            f"good/{command}_failed_item", command, lines, outcome="ok", taken=2, beside=None
        )
    for name, lines in ERRORS.items():
        yield _cell(f"good/error_{name}", "generate", lines, outcome=name, beside=None)


def ended_by(lines: list[Line], final: Message) -> list[Line]:
    """Return lines with a final behind them, so that no client waits for more."""
    last = lines[-1]
    return lines if isinstance(last, dict) and last.get("final") is True else [*lines, final]


def _cell(name: str, command: str, lines: list[Line], **due: object) -> Cell:
    beside = json.dumps({"now": [TOKEN]})
    ask = {"do": "read", "beside": beside, **asking(command, {"now": lines})}
    return Cell(name, ask, due)
