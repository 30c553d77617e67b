"""Requests by chance: every command, fields that fit and some that do not, few ids."""

from __future__ import annotations

import random

from .mutation import ODD_VALUES, Raw

HELLO: Raw = {"id": b'"h"', "cmd": b'"hello"', "protocols": b"[1]"}
LOAD: Raw = {"id": b'"l"', "cmd": b'"load"', "path": b'"any"'}
IDS = [b'"%d"' % number for number in range(12)]
_BOOLEANS = [b"true", b"false"]
_FRACTIONS = [b"0", b"1", b"0.5", b"0.01"]
_COUNTS = [b"0", b"1", b"2", b"5"]
_TEXTS = [
    b'"a"',
    b'"a b c d e"',
    b'" a  b "',
    b'"one two one two"',
    b'"\\n"',
    '"é 🚀 ü"'.encode(),
]
_MESSAGES = [b'[{"role":"user","content":%b}]' % text for text in [*_TEXTS, b'""']] + [
    b'[{"role":"system","content":"s"},{"role":"user","content":"a b"}]'
]
_PROMPTS = [b'["a"]', b'["a b","c","d e f"]', b'["a","a"]']
_CONVERSATIONS = [b"[%b]" % turns for turns in _MESSAGES] + [b"[[]]"]
_INPUTS = [*_PROMPTS, b"[[1,2],[3]]", b'["a",[1]]', b"[[65536]]", b"[[]]"]
_STREAMING = {
    "window": [b"1", b"2", b"50", b"null"],
    "deadline_seconds": [b"1e-9", b"1000", b"null"],
}
_SAMPLING = {
    **_STREAMING,
    "max_tokens": [b"0", b"1", b"3", b"6"],
    "temperature": _FRACTIONS,
    "top_k": _COUNTS,
    "top_p": _FRACTIONS,
    "min_p": _FRACTIONS,
    "repeat_penalty": _FRACTIONS,
    "seed": [b"1", b"null"],
    "stop": [b'"b"', b'["b c","e"]', b"[]", b'[" "]'],
    "stop_tokens": [b"[]", b"[1,2]", b"[65535]", b"[65536]"],
    "ignore_eos": _BOOLEANS,
    "min_tokens": _COUNTS,
    "presence_penalty": _FRACTIONS,
    "frequency_penalty": _FRACTIONS,
    "penalty_window": _COUNTS,
    "logit_bias": [b'{"5":1}', b'{"x":1}', b"{}"],
    "xtc_probability": _FRACTIONS,
    "xtc_threshold": [b"0", b"0.1"],
    "logprobs": _BOOLEANS,
    "top_logprobs": _COUNTS,
    "cache": _BOOLEANS,
}
_TARGETS = [*IDS, b'"l"', b'"nobody"']
COMMANDS: dict[str, tuple[dict[str, list[bytes]], dict[str, list[bytes]]]] = {
    "hello": ({"protocols": [b"[1]", b"[2]", b"[]", b"[0,1,2]"]}, {
        "require": [b'["generate"]', b'["magic"]'], "events": [b'["heartbeat","x"]'],
        "client": [b'{"name":"n","version":"v"}', b"{}"],
    }),
    "load": ({"path": [b'"m"', b'"n"']}, {
        "context_len": [b"4", b"64", b"null"], "parallel_slots": [b"1", b"3"],
        "warmup": _BOOLEANS, "adapter_path": [b"null", b'"a"'], "kv_bits": [b"4", b"null"],
    }),
    "unload": ({}, {}),
    "info": ({}, {}),
    "generate": ({"prompt": _TEXTS}, _SAMPLING),
    "chat": ({"messages": _MESSAGES}, {**_SAMPLING, "thinking": _BOOLEANS}),
    "batch": ({"prompts": _PROMPTS}, {**_SAMPLING, "stream": _BOOLEANS}),
    "classify": ({"prompts": _PROMPTS}, {
        **_STREAMING, "logits": _BOOLEANS, "labels": [b'["x","y"]', b"[]"],
        "separator": [b'""', b'" "', b'"\\n"'], "messages": [*_MESSAGES, *_CONVERSATIONS],
    }),
    "score": ({"texts": _INPUTS}, {**_STREAMING, "adapter": [b"null", b'"a"']}),
    "embed": ({"texts": _INPUTS}, {
        **_STREAMING, "dimensions": _COUNTS, "normalize": [*_BOOLEANS, b"null"],
        "encoding_format": [b'"float"', b'"base64"'],
    }),
    "rerank": ({"query": _TEXTS, "documents": _PROMPTS}, {
        "top_n": _COUNTS, "instruction": _TEXTS, "deadline_seconds": [b"1e-9", b"1000"],
    }),
    "render": ({"messages": _MESSAGES}, {"special_tokens": _BOOLEANS}),
    "cancel": ({}, {"target": [*_TARGETS, b"null"]}),
    "credit": ({"target": _TARGETS, "n": [b"1", b"2", b"100", b"9007199254740991"]}, {}),
    "cache": ({}, {
        "action": [b'"stats"', b'"clear"', b'"warm"', b'"save"', b'"load"'],
        "prompt": _TEXTS, "messages": _MESSAGES, "path": [b'"p"'],
    }),
    "memory": ({}, {"clear": _BOOLEANS, "memory_limit": _COUNTS}),
    "metrics": ({}, {}),
    "quit": ({}, {}),
}  # fmt: skip
"""Each command's needed and optional fields, with values that are mostly right."""
_OFTEN = [*("generate", "chat", "batch", "classify") * 4, *("cancel", "credit") * 4]
_OFTEN += ["score", "embed", "rerank", "render"]
_OFTEN += ["load", "unload", "info", "cache", "memory", "metrics"] * 2 + ["hello"]


def some_request(dice: random.Random, *, quits: float = 0.02) -> Raw:
    """Return a request that is nearly always right by itself; its id may have been used."""
    command = "quit" if dice.random() < quits else dice.choice(_OFTEN)
    needed, optional = COMMANDS[command]
    message: Raw = {"id": dice.choice(IDS), "cmd": b'"%b"' % command.encode()}
    for name, values in needed.items():
        message[name] = dice.choice(values)
    if optional:
        for name in dice.sample(list(optional), min(dice.randrange(4), len(optional))):
            message[name] = dice.choice(optional[name])
    if dice.random() < 0.1:
        message[dice.choice(list(message))] = dice.choice(ODD_VALUES)
    return message


def without_id(message: Raw) -> Raw:
    """Return the request as dialect 0 has it."""
    return {name: value for name, value in message.items() if name != "id"}
