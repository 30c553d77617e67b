"""Replies by chance, as a worker writes them or nearly so, to the ids of a client's requests."""

from __future__ import annotations

import random

from .mutation import ODD_VALUES, Raw

GREETING: Raw = {
    "id": b'"r1"',
    "type": b'"result"',
    "final": b"true",
    "protocol": b"1",
    "worker": b'{"name":"w","version":"0","pid":1,"engine":"mock"}',
    "capabilities": b'{"window":true}',
    "limits": b'{"max_line_bytes":3000,"max_inflight":8}',
    "events": b"[]",
}
MOST_ITEMS = 32
"""More than one case has of one id."""
METRICS = (
    b'{"prompt_tokens":1,"cached_tokens":0,"cache_miss":null,"generated_tokens":1,'
    b'"queue_seconds":0.0,"prefill_seconds":0.1,"decode_seconds":0.2,"total_seconds":0.3,'
    b'"first_token_seconds":null,"prefill_tokens_per_second":1.0,'
    b'"decode_tokens_per_second":2.0,"peak_memory_bytes":1,"active_memory_bytes":1,'
    b'"batch_size":1}'
)
ERROR = b'{"code":"%b","message":"m","retryable":false,"data":{"field":"f"}}'
_CODES = [b"internal", b"overloaded", b"context_overflow", b"duplicate_id", b"brand_new"]
_TEXTS = [b'"a"', b'""', b'" b"', '"é🚀"'.encode(), b'"\\n"']


class Replies:
    """Remembers which token of an id is due, so that most of what it makes is in order."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._seqs: dict[tuple[bytes, int], int] = {}
        self._items: dict[bytes, int] = {}

    def some(self, ids: list[bytes]) -> Raw:
        """Return a reply to one of these ids; items go to the last half of the ids."""
        dice = self._dice
        kind = dice.random()
        some = ids[len(ids) // 2 :] if 0.5 <= kind < 0.75 else ids
        message_id = dice.choice(some)
        if kind < 0.42:
            in_batch = message_id in ids[len(ids) // 2 :]
            message = self._token(message_id, in_batch)
        elif kind < 0.5:
            message = {"id": message_id, "type": b'"progress"', **_PROGRESS}
        elif kind < 0.75:
            message = {"id": message_id, "type": b'"item"', **self._item(message_id)}
        elif kind < 0.8:
            message = {
                "id": b"null",
                "type": b'"event"',
                "event": b'"heartbeat"',
                "data": b"{}",
            }
        else:
            message = {"id": message_id, **self._final()}
        if dice.random() < 0.06:
            message[dice.choice(list(message))] = dice.choice(ODD_VALUES)
        return message

    def _item(self, message_id: bytes) -> Raw:
        index = self._items.get(message_id, 0)
        self._items[message_id] = index + 1
        return {**self._dice.choice(_ITEMS), "index": b"%d" % index}

    def _token(self, message_id: bytes, in_batch: bool) -> Raw:
        dice = self._dice
        index = self._items.get(message_id, 0)  # the first prompt without an item
        seq = self._seqs.get((message_id, index), 0)
        self._seqs[message_id, index] = seq + 1
        if dice.random() < 0.04:
            seq += dice.choice([-1, 1])
        message = {
            "id": message_id,
            "type": b'"token"',
            "seq": b"%d" % seq,
            "token": dice.choice(_TEXTS),
            "token_id": b"7",
        }
        if dice.random() < 0.2:
            message |= dice.choice(_MORE_OF_A_TOKEN)
        if in_batch:
            message["index"] = b"%d" % index
        return message

    def _final(self) -> Raw:
        dice = self._dice
        kind = dice.random()
        if kind < 0.6:
            reason = dice.choice([b'"stop"', b'"length"', b'"cancelled"', b'"tool_calls"'])
            return {**_DONE, "finish_reason": reason}
        if kind < 0.8:
            return {"type": b'"error"', "final": b"true", "error": ERROR % dice.choice(_CODES)}
        if kind < 0.9:
            return {"type": b'"result"', "final": b"true", "ok": b"true"}
        return {"type": b'"brand_new"', "final": dice.choice([b"true", b"false"])}


_PROGRESS: Raw = {"stage": b'"prefill"', "done": b"1", "total": b"2"}
_ITEMS: list[Raw] = [
    {"index": b"0", "token": b'"a"', "token_id": b"1", "logprob": b"-0.5"},
    {
        "index": b"1",
        "token": b'"a"',
        "token_id": b"1",
        "logprob": b"null",
        "labels": b'{"x":1}',
    },
    {
        "index": b"0",
        "text": b'"a b"',
        "token_ids": b"[1,2]",
        "finish_reason": b'"stop"',
        "tokens_generated": b"2",
        "error": b"null",
    },
]
_DONE: Raw = {
    "type": b'"done"',
    "final": b"true",
    "done": b"true",
    "tokens_generated": b"1",
    "metrics": METRICS,
    "stage": b'"decode"',
}
_MORE_OF_A_TOKEN: list[Raw] = [
    {"flush": b"true"},
    {"index": b"0"},
    {"index": b"null", "channel": b'"thinking"'},
    {"logprob": b"-0.1", "top_logprobs": b'[{"token":"a","token_id":1,"logprob":null}]'},
    {"added_later": b'{"a":[1]}'},
]
