"""A client's end fed with a worker's lines: typed events, each id's end once, or one violation."""

from __future__ import annotations

import random
from collections import Counter

from mlxwire_protocol import (
    WireError,
)
from mlxwire_protocol.client_connection import (
    ClientConnection,
    EventReceived,
    ReplyReceived,
    StrayLine,
    TokenReceived,
)

from .cases import Case, Target, require
from .mutation import cut_up, maybe_spoiled
from .wire_replies import GREETING, MOST_ITEMS
from .wire_replies import Replies as Worker

REQUESTS = 4
IDS = [b'"r%d"' % number for number in range(2, 2 + REQUESTS)]
BATCH: dict[str, object] = {"prompts": ["a"] * MOST_ITEMS, "stream": True}
ASKED = [("generate", {"prompt": "a"})] * (REQUESTS // 2) + [("batch", BATCH)] * (REQUESTS // 2)
"""The last half of the requests have items, as `wire_replies` sends them."""
MOST_OF_A_MESSAGE = 2000
"""Characters of a violation's text: what a worker writes may be 16 MiB long."""


class Replies(Target):
    """Each chunk is a step; the requests have been made before the first."""

    name = "replies"

    def make(self, dice: random.Random) -> Case:
        worker = Worker(dice)
        lines = [maybe_spoiled(GREETING, dice, share=0.05)]
        if dice.random() < 0.1:
            lines.insert(0, b"a banner")
        lines += [
            maybe_spoiled(worker.some(IDS), dice, share=0.05)
            for _ in range(dice.randrange(1, 24))
        ]
        if dice.random() < 0.2:
            return list(cut_up(b"\n".join(lines) + b"\n", dice))
        return [line + b"\n" for line in lines]

    def run(self, case: Case) -> int:
        end = ClientConnection(max_line_bytes=3000)
        end.hello(name="fuzz", version="0")
        asked = {"r1", *(end.request(*each)[0] for each in ASKED)}
        ended: set[str] = set()
        seqs: Counter[tuple[str, int]] = Counter()
        fed = 0
        for step in case:
            assert isinstance(step, bytes)
            fed += 1
            try:
                for event in end.receive(step):
                    _check(event, asked, ended)
                    if isinstance(event, TokenReceived):
                        place = event.request_id, event.index or 0
                        require(event.seq == seqs[place], f"token {event.seq} of {place}")
                        seqs[place] += 1
            except WireError as error:
                require(error.code == "protocol_violation", f"{error.code} for a worker's line")
                require(end.state == "failed", f"a violation, and yet {end.state}")
                size = len(error.message)
                require(size < MOST_OF_A_MESSAGE, f"an error of {size} characters")
                break
        require(set(end.pending) <= asked - ended, "an id is pending that has ended")
        if end.state != "failed":
            require(set(end.pending) == asked - ended, "an id is forgotten")
        return fed


def _check(event: object, asked: set[str], ended: set[str]) -> None:
    if isinstance(event, TokenReceived):
        _check_open(event.request_id, asked, ended)
        require(type(event.id) is int, f"token id {event.id!r}")
        require(not event.final, "a token is no final")
    elif isinstance(event, ReplyReceived):
        _check_open(event.id, asked, ended)
        require(event.ended == (event.message.get("final") is True), "the end is not its final")
        if event.ended:
            ended.add(event.id)
    elif isinstance(event, EventReceived):
        require(event.message.get("id") is None, "an event with an id")
    else:
        require(isinstance(event, StrayLine), f"{event!r}")
        require("r1" not in ended, "a stray line after the handshake")


def _check_open(request_id: object, asked: set[str], ended: set[str]) -> None:
    require(request_id in asked, f"{request_id!r} was never asked")
    require(request_id not in ended, f"{request_id!r} goes on after its end")
