"""The speed of a training over that of mlx-lm's trainer, and of the worker's answers beside a training.

    python -m bench.answers.training [--model testdata/tiny] [--rounds 5] [--steps 20] [--streams 1,4] [--installed]

Both train on the same rows, in a process of their own that is as nice as the worker's: mlx-lm with
the BLAS, one thread and the dtype of ours, and with `--installed` also as it is. Tokens a second are those of
a run's fastest step; the greatest of the rounds counts. Answers are timed from the request to the last final,
on a worker that trains and on the same one while it does not; rounds take the two in random order.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.common.host import Host

WARM_UP = 3
"""Steps of a run that do not count."""
TOKENS = 60
BURSTS = 4
"""Measurements in a row, of which the greatest counts."""
WORDS = (
    "cat",
    "dog",
    "fox",
    "bird",
    "king",
    "ship",
    "tree",
    "bear",
    "moon",
    "lamp",
    "road",
    "salt",
)
OPTIONS: dict[str, Any] = {
    "batch_size": 4,
    "rank": 8,
    "learning_rate": 1e-4,
    "evaluate_every": 0,
    "save_every": 0,
}


def write_rows(file: Path) -> Path:
    """Write 64 rows of text, of about 60 words."""
    chance = random.Random(0)
    rows = [{"text": " ".join(chance.choices(WORDS, k=60))} for _ in range(64)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def ours(model: str, data: Path, out: Path, steps: int) -> float:
    """Return the tokens a second of our training."""
    options = OPTIONS | {"data": str(data), "out": str(out), "iterations": steps + WARM_UP}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "mlxwire_worker.training"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    task = {"task": "train", "model": str(Path(model).resolve()), "options": options}
    process.stdin.write(json.dumps(task).encode() + b"\n")
    process.stdin.flush()
    events = [json.loads(line) for line in process.stdout]
    process.stdin.close()
    process.wait()
    assert events[-1]["event"] == "result", events[-1]
    told = [each["tokens_per_second"] for each in events if each.get("stage") == "train"]
    return max(told[WARM_UP:])


def theirs(model: str, data: Path, out: Path, steps: int, alike: bool) -> float:
    """Return the tokens a second of mlx-lm's trainer, run by this program in another process."""
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} if alike else {}
    task = json.dumps([str(Path(model).resolve()), str(data), str(out), steps, alike])
    told = subprocess.run(
        [sys.executable, "-m", "bench.answers.training", "--peer", task],
        env=os.environ | threads,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(told.stdout)


def train_as_peer(model_path: str, data: str, out: str, steps: int, alike: bool) -> float:
    """Train with mlx-lm in this process, and return the tokens a second."""
    os.nice(10)
    if alike:
        from mlxwire_worker.mlx_engine.mlx_patches.blas import use_fast_blas

        use_fast_blas()
    import mlx.core as mx
    from mlx.optimizers import AdamW
    from mlx_lm import load
    from mlx_lm.tuner.datasets import CacheDataset, TextDataset
    from mlx_lm.tuner.trainer import TrainingArgs, train
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model, tokenizer = load(model_path)[:2]
    if alike:
        model.set_dtype(mx.float32)
    model.freeze()
    linear_to_lora_layers(
        model, len(model.layers), {"rank": OPTIONS["rank"], "scale": 20.0, "dropout": 0.0}
    )
    rows = [json.loads(line) for line in Path(data).read_text().splitlines()]
    speeds: list[float] = []

    class Heard:
        def on_train_loss_report(self, told: dict[str, float]) -> None:
            speeds.append(told["tokens_per_second"])

        def on_val_loss_report(self, told: dict[str, float]) -> None: ...

    arguments = TrainingArgs(
        batch_size=OPTIONS["batch_size"],
        iters=steps + WARM_UP,
        steps_per_report=1,
        adapter_file=str(Path(out).with_suffix(".safetensors")),
    )
    train(
        model,
        AdamW(learning_rate=OPTIONS["learning_rate"]),
        CacheDataset(TextDataset(rows, tokenizer)),
        args=arguments,
        training_callback=Heard(),
    )
    return max(speeds[WARM_UP:])


def answers(host: Host, streams: int) -> float:
    """Return the tokens a second of several answers together."""
    return max(_answers(host, streams) for _ in range(BURSTS))


def _answers(host: Host, streams: int) -> float:
    started = time.perf_counter()
    waiting = {
        host.send(
            "generate",
            prompt=f"Tell me a story about a {WORDS[place]}.",
            max_tokens=TOKENS,
            ignore_eos=True,
            cache=False,
        )
        for place in range(streams)
    }
    while waiting:
        message = host.read()
        if message.get("final"):
            assert message["type"] != "error", message
            waiting.discard(message["id"])
    return streams * TOKENS / (time.perf_counter() - started)


def answers_while_training(host: Host, streams: int, data: Path, out: Path) -> float:
    """Return the tokens a second of several answers together, beside a training."""
    training = host.send("train", data=str(data), out=str(out), iterations=100_000, **OPTIONS)
    while True:
        message = host.read()
        assert not message.get("final"), message
        if message["id"] == training and message.get("stage") == "train":
            break
    speed = answers(host, streams)
    host.send("cancel", target=training)
    host.final(training)
    return speed


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="testdata/tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--streams", default="1,4")
    parser.add_argument("--installed", action="store_true")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        with contextlib.redirect_stdout(io.StringIO()):
            speed = train_as_peer(*json.loads(given.peer))
        print(speed)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = write_rows(folder / "rows.jsonl")
        speeds(given.model, data, folder, given.rounds, given.steps, given.installed)
        host = Host(given.model)
        for streams in map(int, given.streams.split(",")):
            beside(host, streams, data, folder, given.rounds)
        host.ask("quit")
        host.process.wait()


def speeds(
    model: str, data: Path, folder: Path, rounds: int, steps: int, installed: bool
) -> None:
    """Print the tokens a second of the trainers."""
    runs: dict[str, Any] = {
        "mlx-lm, as installed": lambda out: theirs(model, data, out, steps, False),
        "mlx-lm, BLAS, thread and dtype of ours": lambda out: theirs(
            model, data, out, steps, True
        ),
        "ours": lambda out: ours(model, data, out, steps),
    }
    if not installed:
        del runs["mlx-lm, as installed"]
    told: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for place, name in enumerate(random.sample(list(runs), len(runs))):
            told[name].append(runs[name](folder / f"out-{number}-{place}"))
    print(f"training: tokens a second, greatest of {rounds} rounds, {load_average()}")
    for name, found in told.items():
        print(
            f"  {name:<40}{max(found):9.1f}   ours over it {max(told['ours']) / max(found):.2f}"
        )


def beside(host: Host, streams: int, data: Path, folder: Path, rounds: int) -> None:
    """Print the tokens a second of answers with a training and without."""
    told: dict[bool, list[float]] = {False: [], True: []}
    answers(host, streams)
    for number in range(rounds):
        for trains in random.sample((False, True), 2):
            out = folder / f"beside-{streams}-{number}"
            told[trains].append(
                answers_while_training(host, streams, data, out)
                if trains
                else answers(host, streams)
            )
    alone, with_training = max(told[False]), max(told[True])
    print(f"{streams} answers: tokens a second, greatest of {rounds} rounds, {load_average()}")
    print(
        f"  alone {alone:9.1f}   beside a training {with_training:9.1f}   "
        f"ratio {with_training / alone:.2f}"
    )


def load_average() -> str:
    """Return how busy the machine is, for the reader of the figures."""
    return f"load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
