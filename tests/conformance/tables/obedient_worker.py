"""A worker that writes what the prompts of its requests tell it to; DRIVER.md says how.

Standard library alone, so that it starts in a few milliseconds.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import struct
import sys
from typing import Any

Message = dict[str, Any]
UNTOLD = 10_000
"""The figure of a memory limit that was not asked for."""
REQUEST_FIGURES = (
    *("prompt_tokens", "cached_tokens", "generated_tokens", "queue_seconds", "prefill_seconds"),
    *("decode_seconds", "prefill_tokens_per_second", "decode_tokens_per_second"),
    *("peak_memory_bytes", "active_memory_bytes", "batch_size"),
)
WORKER_FIGURES = ("requests", "queued", "cancelled", "errors", "uptime_seconds")
METRICS: Message = {
    **dict.fromkeys(REQUEST_FIGURES, 0),
    "total_seconds": 0,
    "cache_miss": None,
    "first_token_seconds": None,
}
held: dict[str, Message] = {}
"""The requests without a final so far, by id: their scripts."""


def send(*lines: str) -> None:
    os.write(1, "".join(f"{line}\n" for line in lines).encode())


def reply(request_id: str, **fields: object) -> None:
    send(json.dumps({"id": request_id, **fields}))


def result(request_id: str, **fields: object) -> None:
    reply(request_id, type="result", final=True, **fields)


def end(request_id: str, reason: str, **fields: object) -> None:
    held.pop(request_id, None)
    counts = {"tokens_generated": 0, "metrics": METRICS}
    reply(
        request_id, type="done", final=True, done=True, finish_reason=reason, **counts, **fields
    )


def play(request_id: str, lines: list[str | Message]) -> None:
    """Write a script's lines together: a message with the id, or a text as it stands."""
    name = json.dumps(request_id)
    written = []
    for line in lines:
        if isinstance(line, str):
            written.append(line.replace("$id", name))
            continue
        written.append(json.dumps({"id": request_id, **line}))
        if line.get("final"):
            held.pop(request_id, None)
    send(*written)


def script_of(request: Message) -> Message:
    prompt = request.get("prompt")
    if "messages" in request:
        prompt = request["messages"][-1]["content"]
    elif "prompts" in request or "texts" in request:
        prompt = request.get("prompts", request.get("texts"))[0]
    script: Message = json.loads(str(prompt))
    return script


def answer(request: Message) -> None:
    """Follow the script in a request's prompt."""
    request_id, script = request["id"], script_of(request)
    if script.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    held[request_id] = script
    if script.get("echo"):
        echo(request)
    play(request_id, script.get("now", []))


def echo(request: Message) -> None:
    """Write the request itself as the text of one reply, and end."""
    request_id, text = request["id"], json.dumps(request)
    kinds: dict[str, Message] = {
        "batch": {"index": 0, "text": text, "token_ids": [1], "finish_reason": "stop",
                  "tokens_generated": 1, "error": None},
        "classify": {"index": 0, "token": text, "token_id": 1, "logprob": -0.5},
        "embed": {"index": 0, "embedding": as_vector(text), "tokens": 1},
        "score": {"index": 0, "token_ids": [1], "pieces": [text], "logprobs": [None],
                  "perplexity": None},
    }  # fmt: skip
    if request["cmd"] in kinds:
        reply(request_id, type="item", **kinds[request["cmd"]])
    else:
        reply(request_id, type="token", seq=0, token=text, token_id=1)
    end(request_id, "stop")


def as_vector(text: str) -> str:
    """Return a text's characters as the float32 numbers of a vector, in base64."""
    return base64.b64encode(struct.pack(f"<{len(text)}f", *map(ord, text))).decode()


def cancel(request: Message) -> None:
    target = request.get("target")
    targets = list(held) if target is None else [target] if target in held else []
    outcome = "accepted" if targets else "finished"
    result(request["id"], outcome=outcome, cancelled=len(targets))
    for each in targets:
        end(each, "cancelled", stage="decode")


def unload(request: Message) -> None:
    """End the requests before it, and answer."""
    for each, script in list(held.items()):
        play(each, script.get("before_unload", []))
    result(request["id"], ok=True)


def greet(request: Message) -> None:
    result(
        request["id"],
        protocol=1,
        worker={"name": "obedient", "version": "1", "pid": os.getpid(), "engine": "mock"},
        capabilities={"credit": True, "window": True, "cancel": True},
        limits={"max_line_bytes": 1 << 24, "max_inflight": 4096},
        events=[],
    )


def describe(request: Message) -> None:
    """Answer a load. ``path`` is the request itself, for a driver that wants to see it."""
    figures = ("vocab_size", "layers", "hidden_size", "context_len", "parameters")
    result(
        request["id"],
        ok=True,
        load_seconds=0.0,
        model_type="obedient",
        **dict.fromkeys((*figures, "weight_bytes", "parallel_slots"), 1),
        **dict.fromkeys(("quant_bits", "quant_group", "blas_threads"), 0),
        path=json.dumps(request),
        adapter_path=None,
        chat_template=True,
        capabilities={},
        compute_dtype="none",
        blas=None,
    )


def render(request: Message) -> None:
    """Answer a render. ``prompt`` is the request itself, for a driver that wants to see it."""
    result(
        request["id"], prompt=json.dumps(request), ids=[], count=0, messages=[], answer_start=0
    )


def rerank(request: Message) -> None:
    """Answer a rerank. The scores are the characters of the request itself, all of document 0."""
    scores = [{"index": 0, "relevance_score": ord(each)} for each in json.dumps(request)]
    result(request["id"], results=scores, metrics=METRICS)


def discover(request: Message) -> None:
    """Answer a discover. ``path`` is the request itself, for a driver that wants to see it."""
    figures = ("vocab_size", "layers", "hidden_size", "context_len", "parameters")
    reply(
        request["id"],
        type="item",
        index=0,
        path=json.dumps(request),
        name="obedient",
        model_type="obedient",
        **dict.fromkeys((*figures, "weight_bytes"), 1),
        **dict.fromkeys(("quant_bits", "quant_group"), 0),
        **dict.fromkeys(("architecture", "pooling", "repository", "revision")),
        quant_mode="",
        chat_template=True,
        capabilities={},
        compute_dtype="none",
        dtype_bytes={},
        adapters=[],
    )
    end(request["id"], "stop")


def fit(request: Message) -> None:
    """Answer a fit. ``path`` is the request itself, for a driver that wants to see it."""
    sizes = (
        "weight_bytes",
        "bytes_per_token",
        "sequence_bytes",
        "cache_bytes",
        "scratch_bytes",
    )
    figures = (*sizes, "total_bytes", "available_bytes", "kv_bits", "max_context_len")
    result(
        request["id"],
        path=json.dumps(request),
        model_type="obedient",
        compute_dtype="none",
        context_len=1,
        parallel_slots=1,
        fits=True,
        **dict.fromkeys(figures, 0),
    )


def train(request: Message) -> None:
    """Answer a training. ``adapter`` is the request itself, for a driver that wants to see it."""
    figures = ("steps", "tokens", "rows", "truncated_rows", "seconds", "peak_memory_bytes")
    result(
        request["id"],
        adapter=json.dumps(request),
        method="lora",
        format="mlx",
        first_loss=2.0,
        last_loss=1.0,
        validation_loss=None,
        loaded_as=None,
        **dict.fromkeys(figures, 1),
    )


def memory(request: Message) -> None:
    limits = ("memory_limit", "prompt_cache_limit", "buffer_limit", "wired_limit")
    used = ("active_bytes", "peak_bytes", "buffer_bytes", "sequence_bytes")
    result(
        request["id"],
        **{name: request.get(name, UNTOLD) for name in limits},
        **dict.fromkeys((*used, "prompt_cache_bytes", "bytes_per_token"), 0),
    )


def measure(request: Message) -> None:
    figures = dict.fromkeys((*REQUEST_FIGURES, *WORKER_FIGURES), 0)
    result(request["id"], in_flight=len(held), **figures)


def quit_now(request: Message) -> None:
    for each in list(held):
        end(each, "cancelled", stage="decode")
    result(request["id"], ok=True)
    sys.exit()


COMMANDS = {
    "hello": greet,
    "load": describe,
    "info": describe,
    "train": train,
    "render": render,
    "rerank": rerank,
    "discover": discover,
    "fit": fit,
    "memory": memory,
    "metrics": measure,
    "credit": lambda request: result(request["id"], credit=0),
    "cancel": cancel,
    "unload": unload,
    "quit": quit_now,
    **dict.fromkeys(("generate", "chat", "batch", "classify", "embed", "score"), answer),
}


def main() -> None:
    for line in sys.stdin.buffer:
        request = json.loads(line)
        COMMANDS[request["cmd"]](request)


if __name__ == "__main__":
    main()
