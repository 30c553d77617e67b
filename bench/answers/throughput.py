"""Tokens a second through the pipe, over what mlx-lm does in-process in the same run.

    python -m bench.answers.throughput [--model testdata/tiny] [--widths 1,4,16,32] [--rounds 5] [--server]
    python -m bench.answers.throughput --prompt-words 500    prefill: counts the prompts' tokens

One stream is compared with `stream_generate`, several with a bare `BatchGenerator`, each in a
process of its own. Rounds alternate between the peers; the table shows medians and the median
of the rounds' ratios. `--server` puts mlx_lm.server beside them, over the same peer. Counts from
the first request to the last final, prefill included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.common.server_peer import ServerPeer

Run = Callable[[int, int, int], tuple[int, float]]
"""Runs (streams, tokens of each, words before each question); returns the tokens counted and the seconds."""
TEXT = "Tell me a story about a {}."
SUBJECTS = ("cat", "dog", "fox", "bird", "king", "ship", "tree", "bear")


def prompts(width: int, words: int = 0) -> list[str]:
    """Return one prompt for each stream, with ``words`` words before the question."""
    questions = [TEXT.format(SUBJECTS[place % len(SUBJECTS)]) for place in range(width)]
    return [" cat dog" * (words // 2) + question for question in questions]


def serve_in_process(model_path: str, pipe: Connection, *, like_worker: bool) -> None:
    """Answer (width, tokens, words) with (tokens counted, seconds), computed by mlx-lm.

    With ``like_worker`` mlx-lm uses the BLAS, the number of threads and the dtype that the worker
    chose. The pipe delivers dtype and threads first.
    """
    if like_worker:
        from mlxwire_worker.mlx_engine.mlx_patches.blas import in_use, use_fast_blas

        use_fast_blas()
    import mlx.core as mx
    from mlx_lm import load, stream_generate
    from mlx_lm.generate import BatchGenerator
    from mlx_lm.utils import dequantize_model

    model, tokenizer = load(model_path)
    if like_worker:
        dtype, threads = pipe.recv()
        if dtype == "float32":
            model = dequantize_model(model)
            model.set_dtype(mx.float32)
            mx.eval(model.parameters())
        if (control := in_use().threads) is not None:
            control.set(threads)
    tokenizer.eos_token_ids = set()
    while (asked := pipe.recv()) is not None:
        width, tokens, words = asked
        started = time.perf_counter()
        ids = [tokenizer.encode(prompt) for prompt in prompts(width, words)]
        if width == 1:
            count = sum(1 for _ in stream_generate(model, tokenizer, ids[0], max_tokens=tokens))
        else:
            generator = BatchGenerator(
                model, max_tokens=tokens, completion_batch_size=max(width, 8)
            )
            generator.insert(ids)
            count = 0
            while count < width * tokens:
                count += len(generator.next()[1])
            generator.close()
        prompt_tokens = sum(map(len, ids)) if words else 0
        pipe.send((count + prompt_tokens, time.perf_counter() - started))


class PipeWorker:
    """The worker, driven by a minimal host that reads lines and counts tokens."""

    def __init__(self, model_path: str, extra: list[str]) -> None:
        command = [sys.executable, "-P", "-m", "mlxwire_worker", *extra]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self._ask({"id": "h", "cmd": "hello", "protocols": [1]})
        self._ask({"id": "l", "cmd": "load", "path": model_path, "parallel_slots": 128})
        self.info = self._ask({"id": "i", "cmd": "info"})
        self._round = 0

    def _write(self, *requests: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"".join(json.dumps(r).encode() + b"\n" for r in requests))

    def _ask(self, request: dict[str, object]) -> dict[str, Any]:
        """Send a request and return its final."""
        self._write(request)
        final: dict[str, Any] = json.loads(self._read_until(1)[1])
        return final

    def _read_until(self, finals: int) -> tuple[int, bytes]:
        """Read up to the given number of finals; return how many tokens came, and the last line."""
        assert self._process.stdout is not None
        tokens, rest, lines = 0, b"", b""
        while finals:
            chunk = self._process.stdout.read(1 << 20)
            if not chunk:
                raise SystemExit("the worker ended")
            rest += chunk
            cut = rest.rfind(b"\n") + 1
            lines, rest = rest[:cut], rest[cut:]
            tokens += lines.count(b'"type":"token"')
            finals -= lines.count(b'"final":true')
            if b'"error"' in lines:
                raise SystemExit(lines.decode())
        return tokens, lines.splitlines()[-1]

    def run(self, width: int, tokens: int, words: int) -> tuple[int, float]:
        """Run ``width`` streams at once; return the tokens counted and the seconds."""
        self._round += 1
        requests: list[dict[str, object]] = [
            {
                "id": f"{self._round}-{place}",
                "cmd": "generate",
                "prompt": prompt,
                "max_tokens": tokens,
                "ignore_eos": True,
                "cache": False,
            }
            for place, prompt in enumerate(prompts(width, words))
        ]
        started = time.perf_counter()
        self._write(*requests)
        count, last = self._read_until(width)
        seconds = time.perf_counter() - started
        if words:
            count += width * json.loads(last)["metrics"]["prompt_tokens"]
        return count, seconds

    def close(self) -> None:
        """Ask the worker to quit, and wait for its exit."""
        self._ask({"id": "q", "cmd": "quit"})
        self._process.wait()


class InProcess:
    """mlx-lm in a process of its own, as installed or computing like a worker."""

    def __init__(self, model_path: str, like: PipeWorker | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        process = context.Process(
            target=serve_in_process,
            args=(model_path, theirs),
            kwargs={"like_worker": like is not None},
            daemon=True,
        )
        process.start()
        if like is not None:
            self._pipe.send((like.info["compute_dtype"], like.info["blas_threads"]))

    def run(self, width: int, tokens: int, words: int) -> tuple[int, float]:
        """Compute all streams at once."""
        self._pipe.send((width, tokens, words))
        answer: tuple[int, float] = self._pipe.recv()
        return answer

    def close(self) -> None:
        """Ask the process to end."""
        self._pipe.send(None)


def measure(run: Run, width: int, tokens: int, words: int) -> float:
    """Return the tokens a second of one run."""
    count, seconds = run(width, tokens, words)
    return count / seconds


def main() -> None:
    """Measure all peers at each width, and print a row of rates and ratios for each width."""
    parser = argparse.ArgumentParser()
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--model", default=str(root / "testdata/tiny"))
    parser.add_argument("--widths", default="1,4,16,32,64")
    parser.add_argument(
        "--tokens", type=int, help="tokens of each stream; 150, or 1 for prefill"
    )
    parser.add_argument("--prompt-words", type=int, default=0, metavar="N")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", action="store_true")
    options = parser.parse_args()
    words = options.prompt_words
    tokens = options.tokens or (1 if words else 150)
    worker = PipeWorker(options.model, [])
    installed = InProcess(options.model)
    alike = InProcess(options.model, like=worker)
    peers: dict[str, Run] = {
        "as installed": installed.run,
        "alike": alike.run,
        "mlxwire": worker.run,
    }
    told = ("compute_dtype", "blas", "blas_threads")
    print("mlxwire and alike:", ", ".join(f"{name} {worker.info[name]}" for name in told))
    server = ServerPeer(options.model) if options.server else None
    if server is not None:
        peers["mlx_lm.server"] = lambda width, tokens, words: server.run(
            prompts(width, words), tokens
        )
    heads = "".join(f"{name:>14}" for name in peers)
    ratios = "".join(f"{'/ ' + name:>14}" for name in ("as installed", "alike"))
    print(f"{'streams':>8}{heads}{ratios}   tokens a second; ratios of mlxwire")
    for width in map(int, options.widths.split(",")):
        for run in peers.values():
            measure(run, width, min(tokens, 20), words)
        rounds = [
            [measure(run, width, tokens, words) for run in peers.values()]
            for _ in range(options.rounds)
        ]
        columns = list(zip(*rounds, strict=True))
        rates = "".join(f"{statistics.median(column):>14,.0f}" for column in columns)
        over = [
            statistics.median(b / a for a, b in zip(column, columns[2], strict=True))
            for column in columns[:2]
        ]
        print(f"{width:>8}{rates}{''.join(f'{ratio:>14.2f}' for ratio in over)}", flush=True)
    if server is not None:
        server.close()
    installed.close()
    alike.close()
    worker.close()


if __name__ == "__main__":
    threading.current_thread().name = "host"
    main()
