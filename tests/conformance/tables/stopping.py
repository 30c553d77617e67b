"""The table of every way to stop a request: what the consumer gets, in every client.

The rule: an iteration ends without an error after a complete `done` alone, or by the consumer's
own break. A final that has been received wins over what comes later, except over the
consumer's own cancel, signal, context or task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from .cells import OWN, Cell, Message
from .obedient_worker import METRICS

COMMANDS = ("generate", "chat", "batch", "classify", "embed")
COLLECTED = {"generate": "text", "chat": "text", "batch": "results", "classify": "results"}
"""Commands whose streams the client can read to their ends, and what it returns then."""
WITH_ITEMS = ("batch", "classify", "embed", "score")
"""Commands with an item for each of many prompts or texts."""
PHASES = {
    "before": "before the start",
    "waiting": "consumer waiting",
    "busy": "consumer busy",
    "finished": "worker finished, replies still buffered",
}
SENT = 3
"""Replies that the worker has sent when a request is cut; one more would follow."""
TAKEN = {"before": 0, "waiting": SENT, "busy": 1, "finished": 1}
"""Replies that the consumer has taken when the request is cut."""


class Ending(NamedTuple):
    """The outcome that a consumer sees after a cut, and the number of replies that it takes in all."""

    outcome: str
    taken: int


class Cause(NamedTuple):
    """A way to stop, with its ending in each phase, in the order of `PHASES`."""

    about: str
    before: Ending
    waiting: Ending
    busy: Ending
    finished: Ending


WHOLE = Ending("ok", SENT)
WENT_ON = Ending("ok", SENT + 1)
CANCELLED = Ending("cancelled", SENT)
CRASHED = Ending("worker_crashed", SENT)
CAUSES: dict[str, Cause] = {
    "own_cancel": Cause(
        "the stream's own cancel",
        Ending("cancelled", 0),
        CANCELLED,
        Ending("cancelled", 1),
        Ending("cancelled", 1),
    ),
    "signal": Cause(
        "`AbortSignal`, context, task",
        Ending(OWN, 0),
        Ending(OWN, SENT),
        Ending(OWN, 1),
        Ending(OWN, 1),
    ),
    "worker_cancel": Cause("`worker.cancel`", WHOLE, CANCELLED, CANCELLED, WHOLE),
    "model_close": Cause("model close", Ending("model_not_loaded", 0), WENT_ON, WENT_ON, WHOLE),
    "worker_close": Cause(
        "worker close", Ending("shutting_down", 0), CANCELLED, CANCELLED, WHOLE
    ),
    "restart": Cause("restart", WHOLE, CRASHED, CRASHED, WHOLE),
    "sigkill": Cause("SIGKILL", Ending("worker_crashed", 0), CRASHED, CRASHED, WHOLE),
}
SECOND_PASSES = {
    "complete": "read to its end",
    "break": "left by the consumer's own break",
    "error": "ended by an error",
}


def due(cause: str, phase: str) -> Ending:
    """Return what a cell of the table must give, for every command that streams."""
    ending: Ending = getattr(CAUSES[cause], phase)
    return ending


def cells() -> Iterator[Cell]:
    """Yield the cells of the table, and those of a second pass over a stream."""
    for cause in CAUSES:
        for phase in PHASES:
            for command in COMMANDS:
                ask = _asking_to_stop(cause, phase, command)
                ending = due(cause, phase)
                yield Cell(f"stop/{cause}/{phase}/{command}", ask, ending._asdict())
                if command in COLLECTED and phase != "busy":
                    outcome = due_collected(cause, phase).outcome
                    ask = {**_asking_to_stop(cause, phase, command), "collect": True}
                    name = f"stop/{cause}/{phase}/{command}_{COLLECTED[command]}"
                    yield Cell(name, ask, {"outcome": outcome})
    for end in SECOND_PASSES:
        for command in COMMANDS:
            ask = {"do": "second_pass", "end": end, **request(command, ends=end != "error")}
            yield Cell(f"second_pass/{end}/{command}", ask, {"second": "raises"})


def due_collected(cause: str, phase: str) -> Ending:
    """Return what a call gives that returns all of a stream: its result is the caller's own."""
    return WHOLE if phase == "finished" else due(cause, phase)


def _asking_to_stop(cause: str, phase: str, command: str) -> Message:
    return {
        "do": "stop",
        "cause": cause,
        "phase": phase,
        "pause_after": TAKEN[phase],
        **request(command, ends=_ends(cause, phase)),
    }


def _ends(cause: str, phase: str) -> bool:
    """Return True if the worker sends the final at once, behind its replies."""
    return phase == "finished" or getattr(CAUSES[cause], phase) == WHOLE


def request(command: str, *, ends: bool) -> Message:
    """Return command and prompts of a request whose worker ends it at once, or at an unload."""
    replies = [reply(command, place) for place in range(SENT + 1)]
    now, later = replies[:SENT], [*replies[SENT:], done(SENT + 1)]
    script = {"now": [*now, done(SENT)]} if ends else {"now": now, "before_unload": later}
    return asking(command, script)


def asking(command: str, script: Message) -> Message:
    """Return the fields of a cell that sends a script, alone or as the first of many prompts."""
    prompt = json.dumps(script)
    if command in WITH_ITEMS:
        return {"command": command, "prompts": [prompt, "b", "c", "d"]}
    return {"command": command, "prompt": prompt}


def reply(command: str, place: int) -> Message:
    """Return a command's reply number ``place``, without its id."""
    named: dict[str, Any] = {"token": f" {place}", "token_id": place}
    if command == "classify":
        return {"type": "item", "index": place, "logprob": -0.5, **named}
    if command == "embed":
        return {"type": "item", "index": place, "embedding": "AACAPw==", "tokens": 1}
    if command == "score":
        tokens = {"token_ids": [place], "pieces": [f" {place}"], "logprobs": [None]}
        return {"type": "item", "index": place, **tokens, "perplexity": None}
    if command == "batch":
        ended = {"token_ids": [1], "tokens_generated": 1, "finish_reason": "stop"}
        return {"type": "item", "index": place, "text": "t", **ended, "error": None}
    return {"type": "token", "seq": place, **named}


def done(tokens: int) -> Message:
    """Return a complete final, without its id."""
    counts = {"tokens_generated": tokens, "metrics": METRICS}
    return {"type": "done", "final": True, "done": True, "finish_reason": "stop", **counts}
