"""From a cancel written to its final read: in decode, beside others, and in a long prefill.

    python -m bench.answers.cancel [--model testdata/tiny] [--rounds 60] [--prompt-tokens 7500]

In decode the bound is one step and 2 ms, so the median step, measured in the same run from
token to token, stands beside it; in a prefill of any length it is 250 ms.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import time

from bench.common.host import Host


class Watch(Host):
    """A host that measures times in seconds."""

    def cancel(self, name: str) -> float | None:
        """Return the seconds from the cancel to the final reply.

        Return None if the request had ended before the cancel."""
        started = time.perf_counter()
        self.send("cancel", target=name)
        final = self.final(name)
        seconds = time.perf_counter() - started
        return seconds if final["finish_reason"] == "cancelled" else None

    def tokens(self, name: str, count: int) -> list[float]:
        """Return the arrival times of the next ``count`` tokens of a stream."""
        times: list[float] = []
        while len(times) < count:
            message = self.read()
            if message["id"] == name and message["type"] == "token":
                times.append(time.perf_counter())
        return times


def in_decode(host: Watch, others: int, rounds: int) -> tuple[list[float], float]:
    """Measure cancels of one stream beside others, in seconds, and the median step."""
    endless = {"prompt": "Tell me", "max_tokens": 6000, "ignore_eos": True, "cache": False}
    beside = [host.send("generate", **endless) for _ in range(others)]
    taken: list[float] = []
    steps: list[float] = []
    dice = random.Random(1)
    for _ in range(rounds):
        name = host.send("generate", **endless)
        times = host.tokens(name, dice.randrange(5, 40))
        steps += [after - before for before, after in itertools.pairwise(times)]
        seconds = host.cancel(name)
        assert seconds is not None, "an endless stream ended"
        taken.append(seconds)
    for name in beside:
        host.cancel(name)
    return taken, statistics.median(steps)


def in_prefill(host: Watch, tokens: int, rounds: int) -> list[float]:
    """Measure cancels at random moments of a long prompt, whose length an eighth of it predicts."""
    dice = random.Random(2)
    taken: list[float] = []
    digits = [str(dice.randrange(10)) for _ in range(tokens // 2)]
    part = host.ask(
        "generate", prompt=" ".join(digits[: tokens // 16]), max_tokens=1, cache=False
    )
    lasts = min(4 * part["metrics"]["prefill_seconds"], 3.0)
    while len(taken) < rounds:
        name = host.send("generate", prompt=" ".join(digits), max_tokens=1, cache=False)
        time.sleep(dice.random() * lasts)
        seconds = host.cancel(name)
        if seconds is None:
            lasts *= 0.9  # it was faster than its part promised
        else:
            taken.append(seconds)
    return taken


def show(name: str, seconds: list[float], extra: str = "") -> None:
    ordered = sorted(seconds)
    p50, p99 = (
        ordered[len(ordered) // 2],
        ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)],
    )
    print(f"{name:28}p50 {p50 * 1e3:7.2f} ms   p99 {p99 * 1e3:7.2f} ms   {extra}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="testdata/tiny")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--prompt-tokens", type=int, default=7500)
    given = parser.parse_args()
    host = Watch(given.model)
    for others in (0, 3, 15):
        taken, step = in_decode(host, others, given.rounds)
        less = sorted(max(one - step, 0.0) for one in taken)
        p99 = less[min(len(less) * 99 // 100, len(less) - 1)]
        show(
            f"decode, {others} beside",
            taken,
            f"step {step * 1e3:.2f} ms, p99 less it {p99 * 1e3:.2f} ms",
        )
    show("prefill", in_prefill(host, given.prompt_tokens, given.rounds // 2))
    host.ask("quit")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


if __name__ == "__main__":
    main()
