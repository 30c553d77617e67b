"""Small workers for the client's tests, good and deliberately bad, by the name of a behaviour.

Run as a program with the standard library alone, so that it starts in a few milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

DONE = {
    "type": "done",
    "final": True,
    "done": True,
    "finish_reason": "stop",
    "tokens_generated": 1,
    "metrics": {},
}


def send(**fields):
    os.write(1, json.dumps(fields).encode() + b"\n")


def log(text):
    os.write(2, text.encode())


def requests():
    for line in sys.stdin.buffer:
        yield json.loads(line)


def greet(request, protocol=1):
    send(
        id=request["id"],
        type="result",
        final=True,
        protocol=protocol,
        worker={"name": "script", "version": "1", "pid": os.getpid(), "engine": "mock"},
        capabilities={},
        limits={"max_line_bytes": 1 << 24, "max_inflight": 64},
    )


def result(request, **fields):
    send(id=request["id"], type="result", final=True, **fields)


def model(request):
    result(
        request,
        ok=True,
        load_seconds=0,
        model_type="script",
        vocab_size=8,
        layers=1,
        hidden_size=8,
        context_len=64,
        quant_bits=0,
        quant_group=0,
        parameters=1,
        weight_bytes=1,
        path=request.get("path", ""),
        adapter_path=None,
        chat_template=True,
        parallel_slots=1,
        capabilities={},
    )


def token(request, seq):
    send(id=request["id"], type="token", seq=seq, token="t", token_id=1)


def serve(generate=None, quit_too=True):
    """Answer everything; call ``generate`` for `generate` and `chat` if it is given."""
    for request in requests():
        command = request["cmd"]
        if command == "hello":
            greet(request)
        elif command in ("load", "info"):
            model(request)
        elif command == "cancel":
            result(request, outcome="accepted", cancelled=1)
        elif command == "unload":
            result(request, ok=True)
        elif command == "quit" and quit_too:
            result(request, ok=True)
            return
        elif command in ("generate", "chat"):
            if generate is not None:
                generate(request)
            else:
                token(request, 0)
                send(id=request["id"], **DONE)


def good():
    log("good worker\n")
    serve()


def silent():
    log("thinking about it\n")
    for _ in requests():
        pass


def early_exit():
    log("no such engine\n")
    sys.exit(7)


def banner():
    os.write(1, b"Welcome to the worker\n\x00\xff odd bytes\n" + b'{"log": "starting"}\n')
    serve()


def endless_banner():
    for _ in requests():
        for number in range(1000):
            os.write(1, b"line %d\n" % number)


def wrong_version():
    for request in requests():
        greet(request, protocol=9)


def refuses_version():
    for request in requests():
        body = {"code": "unsupported_protocol", "message": "no", "data": {"supported": [2]}}
        send(id=request["id"], type="error", final=True, error=body)


def old_wire():
    for _ in requests():
        send(error="hello: unknown command")


def deaf():
    """Ignore quit, the end of stdin and SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve(quit_too=False)
    while True:
        signal.pause()


def deaf_from_the_start():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log("ready\n")
    while True:
        signal.pause()


def ignores_quit():
    serve(quit_too=False)


def ignores_quit_and_end():
    serve(quit_too=False)
    while True:
        signal.pause()


def dies_mid_token(how="exit"):
    def generate(request):
        token(request, 0)
        os.write(1, b'{"id": "' + request["id"].encode() + b'", "type": "tok')
        log("out of luck\n")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(9)

    serve(generate)


def exits_after_done():
    def generate(request):
        for seq in range(2000):
            token(request, seq)
        send(id=request["id"], **DONE)
        os._exit(4)

    serve(generate)


def grandchild():
    """Leave all the pipes with a process in a session of its own."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"],
        start_new_session=True,
    )
    log(f"grandchild {child.pid}\n")
    serve()
    os._exit(0)


def helper(fifo):
    """Leave a process in the worker's own group; it holds the FIFO while it lives."""
    held = os.open(fifo, os.O_WRONLY)
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"],
        stdin=subprocess.DEVNULL,
        pass_fds=[held],
    )
    os.close(held)
    serve()
    os._exit(0)


def closes_stdout():
    def generate(request):
        token(request, 0)
        log("going silent\n")
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        while True:
            signal.pause()

    serve(generate)


def closes_stdin():
    def generate(request):
        os.close(0)
        token(request, 0)
        while True:
            signal.pause()

    serve(generate)


def never_reads():
    """Answer hello and read nothing more."""
    line = os.read(0, 1 << 16)
    greet(json.loads(line))
    log("ready\n")
    while True:
        signal.pause()


def ignores_cancel():
    def generate(request):
        token(request, 0)

    serve(generate)


def tells_of_cancels():
    for request in requests():
        command = request["cmd"]
        if command == "hello":
            greet(request)
        elif command == "load":
            model(request)
        elif command == "generate":
            generate = request
            token(request, 0)
        elif command == "cancel":
            log("cancel\n")
            result(request, outcome="accepted", cancelled=1)
            send(id=generate["id"], **DONE)
        elif command == "quit":
            result(request, ok=True)
            return


def noisy():
    """Write far more stderr than any pipe holds, mostly without a newline."""

    def generate(request):
        for _ in range(64):
            log("x" * 65536)
        log("\nthe end\n")
        token(request, 0)
        send(id=request["id"], **DONE)

    serve(generate)


def measures():
    """Report how many bytes of each prompt came through."""

    def generate(request):
        send(
            id=request["id"], type="token", seq=0, token=str(len(request["prompt"])), token_id=1
        )
        send(id=request["id"], **DONE)

    serve(generate)


def trains(steps, end="result"):
    """Train by a script: report steps, then the result or a failure, or wait for the cancel."""
    training = None
    for request in requests():
        command = request["cmd"]
        if command == "hello":
            greet(request)
        elif command in ("load", "info"):
            model(request)
        elif command == "train":
            training = request
            train(request, int(steps), end)
        elif command == "evaluate":
            perplexity = 2.718 if request.get("adapter") is None else 2.0
            figures = {"loss": 1.0, "perplexity": perplexity, "tokens": 9, "rows": 2}
            result(request, **figures, truncated_rows=0, seconds=0.5)
        elif command == "adapter":
            result(request, adapters=[])
        elif command == "cancel":
            result(request, outcome="accepted", cancelled=1)
            saved = {"stage": "train", "checkpoint": f"{training['out']}/checkpoints/{steps}"}
            send(id=training["id"], **{**DONE, "finish_reason": "cancelled"}, **saved)
        elif command in ("unload", "quit"):
            result(request, ok=True)
            if command == "quit":
                return


def train(request, steps, end):
    send(id=request["id"], type="progress", stage="check", done=2, total=2)
    for step in range(1, steps + 1):
        send(
            id=request["id"],
            type="progress",
            stage="train",
            done=step,
            total=steps,
            step=step,
            loss=3.0 - step / steps,
            validation_loss=2.5 if step == steps else None,
            learning_rate=0.0001,
            tokens=30 * step,
            seconds=float(step),
            tokens_per_second=30.0,
            peak_memory_bytes=1 << 20,
            seconds_left=float(steps - step),
        )
    if end == "fails":
        checkpoint = f"{request['out']}/checkpoints/1"
        body = {"code": "training_failed", "message": "the loss is NaN at step 2"}
        send(
            id=request["id"],
            type="error",
            final=True,
            error={**body, "retryable": False, "data": {"checkpoint": checkpoint, "step": 2}},
        )
    elif end == "result":
        result(
            request,
            adapter=request["out"],
            method=request.get("method", "lora"),
            format=request.get("format", "mlx"),
            first_loss=3.0,
            last_loss=2.0,
            validation_loss=2.5,
            steps=steps,
            tokens=30 * steps,
            rows=4,
            truncated_rows=1,
            seconds=float(steps),
            peak_memory_bytes=1 << 20,
            loaded_as=request.get("load_as"),
        )


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
