"""The table of values left out: each number that a caller may give, left out, 0, negative, or none.

The protocol says which numbers a request may have; a client sends these as they are. Any other
number, and NaN, is refused with the option's name as the caller wrote it. A struct's field that was
left out (0 in Go) means the default, and an idle time-out of 0 means never.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import structs

from mlxwire_protocol.commands import TABLE

from .cells import Between, Cell, Message
from .stopping import asking

SAMPLING = (
    *("max_tokens", "min_tokens", "temperature", "top_k", "top_p", "min_p", "repeat_penalty"),
    *("presence_penalty", "frequency_penalty", "penalty_window", "seed", "logit_bias"),
    *("xtc_probability", "xtc_threshold", "top_logprobs", "deadline_seconds"),
)
ON_THE_WIRE: dict[str, tuple[str, ...]] = {
    "generate": SAMPLING,
    "chat": SAMPLING,
    "batch": SAMPLING,
    "classify": ("deadline_seconds",),
    "embed": ("dimensions", "deadline_seconds"),
    "score": ("deadline_seconds",),
    "rerank": ("top_n", "deadline_seconds"),
    "discover": ("deadline_seconds",),
    "fit": ("context_len", "parallel_slots", "kv_bits", "kv_group_size", "memory_limit"),
    "load": (
        *("context_len", "parallel_slots", "kv_bits", "kv_group_size", "memory_limit"),
        *("prompt_cache_limit", "prefill_seconds"),
    ),
    "memory": ("memory_limit", "prompt_cache_limit", "buffer_limit", "wired_limit"),
    "train": (
        *("batch_size", "max_sequence", "memory_limit", "deadline_seconds", "rank", "scale"),
        *("dropout", "layers", "iterations", "epochs", "learning_rate", "warmup"),
        *("weight_decay", "gradient_accumulation", "gradient_clip", "validation"),
        *("evaluate_every", "save_every", "seed"),
    ),
}
"""The options that a request carries to the worker, by command; the schema has their ranges."""

OF_THE_CLIENT: dict[str, tuple[str, ...]] = {
    "worker": (
        *("start_timeout", "request_timeout", "idle_timeout", "drain_timeout"),
        *("buffer_bytes", "window", "unload_after"),
    ),
    "shutdown": ("quit", "close_stdin", "terminate", "kill"),
    "liveness": ("silence", "step", "phases"),
    "restart": ("max_restarts", "window", "backoff_min", "backoff_max", "jitter"),
    "generate": ("timeout", "idle_timeout"),
    "classify": ("timeout", "idle_timeout"),
    **dict.fromkeys(("embed", "score", "discover"), ("timeout", "idle_timeout")),
    **dict.fromkeys(("load", "metrics", "render", "rerank", "fit"), ("timeout",)),
}
"""The options that stay in a client, by their names in Python; times in seconds."""

NEVER = (("worker", "idle_timeout"), ("generate", "idle_timeout"))
"""Options whose 0 means never."""
NEEDED_BESIDE = {"top_logprobs": {"logprobs": True}, "kv_group_size": {"kv_bits": 8}}
"""Options without which another has no meaning."""
TOO_LARGE = 2**53
"""The first integer that the wire does not have."""
QUICK = {"backoff_min": 0.001, "backoff_max": 0.001}
DEFAULT_PAUSE = Between(0.4, 0.6)
"""Half a second, a fifth longer or shorter: the first pause of a policy that says nothing of it."""
PLACEHOLDER = {"generate": {"prompt": "p"}, "chat": {"messages": [{"role": "r", "content": "c"}]},
               "batch": {"prompts": ["p"]}, "classify": {"prompts": ["p"]},
               "embed": {"texts": ["t"]}, "score": {"texts": ["t"]}, "discover": {}, "fit": {},
               "rerank": {"query": "q", "documents": ["d"]},
               "load": {"path": "mock"}, "memory": {},
               "train": {"data": "d", "out": "o"}}  # fmt: skip
SCRIPTED = ("generate", "chat", "batch", "classify", "embed", "score")
"""Commands whose first prompt or text tells the obedient worker what to do."""
REQUESTS = {row.name: row.request for row in TABLE}
REFUSED = {"outcome": "invalid_params"}


def cells() -> Iterator[Cell]:
    """Yield the cells of the table."""
    for command, options in ON_THE_WIRE.items():
        yield _cell(command, "all", None, {"outcome": "ok", "fields": []})
        for option in options:
            yield from _of_a_request(command, option)
    for command in (*SCRIPTED, "rerank"):
        yield _cell(command, "adapter", "poet", {"outcome": "ok", "sent": "poet"})
        for name in ("", "not loaded"):
            yield _cell(command, "adapter", name, REFUSED)
    for of, options in OF_THE_CLIENT.items():
        for option in options:
            for value in (-1, "nan"):
                yield _cell(of, option, value, REFUSED)
    for of, option in NEVER:
        ask = {"do": "never", "of": of, "option": option, **asking("generate", {"now": []})}
        yield Cell(f"option/{of}/{option}/0", ask, {"outcome": "cancelled"})
    yield from _policies()


def _of_a_request(command: str, option: str) -> Iterator[Cell]:
    for value in (0, -1, TOO_LARGE):
        if _is_legal(command, option, value):
            sent = {value, None} if _default(command, option) == value else {value}
            yield _cell(command, option, value, {"outcome": "ok", "sent": sent})
        else:
            yield _cell(command, option, value, REFUSED)
    for literal in ("nan", "inf"):
        yield _cell(command, option, literal, REFUSED)


def _cell(of: str, option: str, value: object, due: Message) -> Cell:
    """Return the cell for one value. A request that is refused asks the mock, which knows ranges."""
    shown = "left_out" if value is None else value
    refused = due == REFUSED
    ask: Message = {
        "do": "option",
        "of": of,
        "option": None if value is None else option,
        "value": value,
        "beside": NEEDED_BESIDE.get(option, {}),
        "worker": "mock" if refused else "obedient",
    }
    if of in SCRIPTED:
        ask |= asking(of, {"echo": True})
    return Cell(f"option/{of}/{option}/{shown}", ask, due, names_option=refused)


def _policies() -> Iterator[Cell]:
    """Yield cells of restart policies with fields left out: what follows each crash."""
    once, last = "restarting", "gave_up"
    for name, fields, crashes, due in (
        ("all", {}, 1, {"changes": [once], "first_pause": DEFAULT_PAUSE}),
        ("all_but_max_restarts", {"max_restarts": 3}, 1, {"first_pause": DEFAULT_PAUSE}),
        ("backoff_max", {"backoff_min": 0.5}, 1, {"first_pause": DEFAULT_PAUSE}),
        ("window", {"max_restarts": 1, **QUICK}, 2, {"changes": [once, last]}),
        ("max_restarts", QUICK, 4, {"changes": [once, once, once, last]}),
    ):
        ask = {"do": "policy", "policy": fields, "crashes": crashes}
        yield Cell(f"policy/{name}/left_out", {**ask, **asking("generate", {"die": True})}, due)


def _is_legal(command: str, option: str, value: float) -> bool:
    """Return True if the protocol accepts a request with that value."""
    given: Any = {"1": value} if option == "logit_bias" else value
    request = {"cmd": command, **PLACEHOLDER[command], option: given}
    try:
        msgspec.convert({"id": "r", **request}, REQUESTS[command])
    except msgspec.ValidationError:
        return False
    return True


def _default(command: str, option: str) -> object:
    """Return the value on the wire that means the same as leaving the option out."""
    fields = {field.encode_name: field for field in structs.fields(REQUESTS[command])}
    return fields[option].default
