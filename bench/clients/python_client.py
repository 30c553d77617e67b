"""Tokens a second into the Python client, from a program that writes encoded token lines.

    python -m bench.clients.python_client [tokens] [rounds]

Prints the best of some rounds, and the ratio to a bare loop: blocking reads of the same pipe,
split at 0x0A, orjson for each line. "window" rows are of a worker that sends a stream no
further than it was given credit, the others of one that sends all at once.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable

import orjson

import mlxwire
import mlxwire.sync

WRITER = """
import json, os, sys
tokens = int(sys.argv[1])
WINDOWS = sys.argv[2:] == ["windows"]

def lines(name, first, last):
    form = '{"id":"%s","type":"token","seq":%d,"token":" word","token_id":4711}'
    return "\\n".join([form % (name, seq) for seq in range(first, last)]).encode() + b"\\n"

def blocks(names):
    each = tokens // len(names)
    for first in range(0, each, 4096):
        yield b"".join(lines(name, first, min(each, first + 4096)) for name in names)

def write(data):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]

def reply(request, **fields):
    write(json.dumps({"id": request["id"], "final": True, **fields}).encode() + b"\\n")

if sys.argv[2:] == ["bare"]:
    ready = list(blocks(["r1"]))
    sys.stdin.readline()
    for block in ready:
        write(block)
    sys.exit()

def serve_windows(waiting):
    # Each stream no further than its window and the credit that comes.
    each = tokens // len(waiting)
    ready = {w["id"]: lines(w["id"], 0, each).splitlines(True) for w in waiting}
    sent = dict.fromkeys(ready, 0)
    allowed = {w["id"]: w["window"] for w in waiting}
    reply(waiting[0], type="progress", stage="prefill", done=1, total=1, final=False)
    while True:
        for name, held in ready.items():
            if sent[name] < allowed[name]:
                write(b"".join(held[sent[name]:allowed[name]]))
                sent[name] = allowed[name]
        if all(count >= each for count in sent.values()):
            return
        credit = json.loads(sys.stdin.readline())
        allowed[credit["target"]] += credit["n"]
        reply(credit, type="result", credit=credit["n"])

waiting = []
for line in sys.stdin:
    request = json.loads(line)
    command = request["cmd"]
    if command == "hello":
        reply(request, type="result", protocol=1, capabilities={"window": WINDOWS},
              worker={"name": "w", "version": "1", "pid": 1, "engine": "mock"},
              limits={"max_line_bytes": 1 << 24, "max_inflight": 64})
    elif command == "load":
        reply(request, type="result", ok=True, model_type="", vocab_size=1, layers=1,
              hidden_size=1, context_len=1, quant_bits=0, quant_group=0, parameters=1,
              weight_bytes=1, path="", adapter_path=None, chat_template=True,
              parallel_slots=1, capabilities={})
    elif command == "generate":
        waiting.append(request)
        if len(waiting) == int(request["prompt"]):
            if "window" in request:
                serve_windows(waiting)
            else:
                ready = list(blocks([waiter["id"] for waiter in waiting]))
                reply(waiting[0], type="progress", stage="prefill", done=1, total=1, final=False)
                for block in ready:
                    write(block)
            for waiter in waiting:
                reply(waiter, type="done", done=True, finish_reason="length",
                      tokens_generated=tokens, metrics={})
            waiting.clear()
    elif command == "credit":  # for a stream that has ended
        reply(request, type="result", credit=0)
    elif command == "quit":
        reply(request, type="result", ok=True)
        sys.exit()
"""


def writer(tokens: int, *more: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", WRITER, str(tokens), *more]


def bare(tokens: int) -> float:
    """Measure the floor: the seconds of a loop without any client."""
    command = writer(tokens, "bare")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        time.sleep(0.5 + tokens / 2e6)  # the writer encodes first
        began = time.perf_counter()
        child.stdin.write(b"\n")
        child.stdin.flush()
        rest, count = b"", 0
        while chunk := child.stdout.read1(1 << 18):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                orjson.loads(line)
                count += 1
        took = time.perf_counter() - began
    assert count == tokens
    return took


def asyncio_client(tokens: int, streams: int, *more: str) -> float:
    async def run() -> float:
        began: list[float] = []
        async with mlxwire.Worker(writer(tokens, *more)) as worker:
            model = await worker.load("m")

            async def consume() -> int:
                stream = model.generate(
                    str(streams), on_progress=lambda _: began.append(time.perf_counter())
                )
                count = 0
                async for _ in stream:
                    count += 1
                return count

            counts = await asyncio.gather(*(consume() for _ in range(streams)))
            took = time.perf_counter() - began[0]
        assert sum(counts) == tokens // streams * streams
        return took

    return asyncio.run(run())


def sync_client(tokens: int, *more: str) -> float:
    began: list[float] = []
    with mlxwire.sync.Worker(writer(tokens, *more)) as worker:
        stream = worker.load("m").generate(
            "1", on_progress=lambda _: began.append(time.perf_counter())
        )
        count = sum(1 for _ in stream)
        took = time.perf_counter() - began[0]
    assert count == tokens
    return took


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    cases: dict[str, Callable[[], float]] = {
        "bare pipe and orjson": lambda: bare(tokens),
        "asyncio, 1 stream": lambda: asyncio_client(tokens, 1),
        "asyncio, 64 streams": lambda: asyncio_client(tokens, 64),
        "sync, 1 stream": lambda: sync_client(tokens),
        "asyncio, 1 window": lambda: asyncio_client(tokens, 1, "windows"),
        "asyncio, 64 windows": lambda: asyncio_client(tokens, 64, "windows"),
        "sync, 1 window": lambda: sync_client(tokens, "windows"),
    }
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(rounds):  # side by side, so that all see the same machine
        for name, measure in cases.items():
            best[name] = min(best[name], measure())
    floor = best["bare pipe and orjson"]
    print(f"{'':24}{'tokens/s':>12}{'ratio':>8}")
    for name, took in best.items():
        print(f"{name:24}{tokens / took:12,.0f}{floor / took:8.2f}")


if __name__ == "__main__":
    main()
