"""Requests with random cancels and faults through one worker: does each end once, what grows?

    python -m bench.endurance.storm [--model testdata/tiny] [--requests 10000] [--in-flight 64]

Counts finals, and messages after one; samples the worker's memory and descriptors from the
1,000th request on (Linux). Growth is the last tenth of the samples over the first.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

WORDS = ("tell", "me", "a", "story", "of", "the", "old", "cat")
FAULTS: tuple[dict[str, Any], ...] = (
    {"prompt": ""},
    {"prompt": "word " * 20_000},  # longer than the context
    {"temperature": -1},
    {"logit_bias": {"999999999": 1}},
    {"stop_tokens": [999_999_999]},
    {"no_such_option": 1},
    {"cmd": "nonsense"},
    {"deadline_seconds": 0.001},
)
"""Each is put over a request that is good without it."""


class Storm:
    """A host that keeps requests in flight, cancels a third and breaks one in twelve."""

    def __init__(self, model: str, seed: int) -> None:
        self.dice = random.Random(seed)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mlxwire_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.finals: Counter[str] = Counter()
        self.late = 0
        self.open: dict[str, bool] = {}
        self.reasons: Counter[str] = Counter()
        self.samples: list[tuple[int, int]] = []
        self.send({"id": "h", "cmd": "hello", "protocols": [1]})
        self.send({"id": "l", "cmd": "load", "path": model, "prompt_cache_limit": 32 << 20})
        self.until(lambda: self.finals["h"] == 1 and self.finals["l"] == 1)

    def send(self, *requests: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        for request in requests:
            if request["cmd"] != "cancel":
                self.open[request["id"]] = True
        self.process.stdin.write(b"".join(json.dumps(r).encode() + b"\n" for r in requests))
        self.process.stdin.flush()

    def read(self) -> None:
        """Read one message."""
        assert self.process.stdout is not None
        message = json.loads(self.process.stdout.readline())
        name = message["id"]
        if self.finals[name]:
            self.late += 1
        if message.get("final"):
            self.finals[name] += 1
            self.open.pop(name, None)
            told = message.get("finish_reason") or message.get("outcome") or message["type"]
            self.reasons[told] += 1

    def until(self, done: Any) -> None:
        while not done():
            self.read()

    def request(self, number: int) -> dict[str, Any]:
        dice, name = self.dice, f"r{number}"
        tokens = {"max_tokens": dice.choice([1, 4, 16, 60])}
        kind = dice.random()
        if kind < 0.5:
            words = " ".join(dice.choices(WORDS, k=dice.randrange(1, 60)))
            fault = dice.choice(FAULTS) if kind < 1 / 12 else {}
            return {"id": name, "cmd": "generate", "prompt": words, **tokens, **fault}
        if kind < 0.8:
            asked = f"What is {dice.randrange(100)} + {dice.randrange(100)}?"
            turn = [{"role": "user", "content": asked}]
            return {"id": name, "cmd": "chat", "messages": turn, **tokens}
        if kind < 0.9:
            return {"id": name, "cmd": "classify", "prompts": ["good", "bad", f"{number}"]}
        return {"id": name, "cmd": "batch", "prompts": ["a b", f"c {number}"], **tokens}

    def run(self, requests: int, in_flight: int) -> None:
        for number in range(requests):
            self.send(self.request(number))
            if self.dice.random() < 0.33:
                target = self.dice.choice([*self.open])
                self.send({"id": f"c{number}", "cmd": "cancel", "target": target})
            self.until(lambda: len(self.open) < in_flight)
            if number >= min(1000, requests // 10) and number % 50 == 0:
                self.samples.append(self.sample())
        self.until(lambda: not self.open)
        self.send({"id": "q", "cmd": "quit"})
        self.until(lambda: self.finals["q"] == 1)

    def sample(self) -> tuple[int, int]:
        """Return the worker's resident bytes and number of open descriptors."""
        folder = Path(f"/proc/{self.process.pid}")
        pages = int((folder / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(list((folder / "fd").iterdir()))


def growth(values: list[int]) -> float:
    """Return the median of the last tenth of the samples minus that of the first tenth."""
    tenth = max(len(values) // 10, 1)
    return statistics.median(values[-tenth:]) - statistics.median(values[:tenth])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="testdata/tiny")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    storm = Storm(given.model, given.seed)
    started = time.perf_counter()
    storm.run(given.requests, given.in_flight)
    seconds = time.perf_counter() - started
    ours = {f"r{number}" for number in range(given.requests)}
    counts = [storm.finals[name] for name in ours]
    memory, descriptors = zip(*storm.samples, strict=True)
    rows = [
        ("requests", f"{given.requests:,} in {seconds:.0f} s, {given.in_flight} in flight"),
        ("ended once", f"{counts.count(1):,}"),
        ("without a final", f"{counts.count(0):,}"),
        ("with more than one", f"{sum(count > 1 for count in counts):,}"),
        ("messages after a final", f"{storm.late:,}"),
        ("ends", ", ".join(f"{name} {n:,}" for name, n in sorted(storm.reasons.items()))),
        (
            "resident memory",
            f"{memory[-1] / 1e6:.0f} MB, grew {growth([*memory]) / 1e6:+.1f} MB",
        ),
        ("descriptors", f"{descriptors[-1]}, grew {growth([*descriptors]):+.0f}"),
        ("exit code", str(storm.process.wait())),
        ("load of the machine", f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"),
    ]
    for name, value in rows:
        print(f"{name:24}{value}")


if __name__ == "__main__":
    main()
