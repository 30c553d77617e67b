"""Prompts a second of one `classify` over those of `generate` one by one with one token each.

    python -m bench.texts.classify [--model testdata/tiny] [--prompts 32] [--rounds 7]

Both without the prompt cache's help: every prompt is new. Rounds alternate, the first is not
counted; the table shows medians, for prompts of their own and for those with a shared instruction.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

from bench.common.host import Host

WORDS = ("cat", "dog", "king", "ship", "tree", "bear", "sad", "happy", "small", "old")
INSTRUCTION = "Say whether the following few words are about an animal or not. Words: "


def seconds_of_classify(host: Host, prompts: list[str]) -> float:
    """Return the seconds of one `classify` with all prompts."""
    started = time.perf_counter()
    final = host.ask("classify", prompts=prompts)
    assert final["type"] == "done", final
    return time.perf_counter() - started


def seconds_of_generate(host: Host, prompts: list[str]) -> float:
    """Return the seconds of one `generate` for each prompt, one after the other."""
    started = time.perf_counter()
    for prompt in prompts:
        final = host.ask("generate", prompt=prompt, max_tokens=1, cache=False)
        assert final["type"] == "done", final
    return time.perf_counter() - started


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="testdata/tiny")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    host, dice = Host(given.model), random.Random(1)
    print(f"{'prompts':>24} {'generate':>10} {'classify':>10} {'ratio':>7}   prompts a second")
    for name, before in (("of their own", ""), ("with an instruction", INSTRUCTION)):
        generated, classified = [], []
        for counted in range(given.rounds + 1):
            prompts = [
                before + " ".join(dice.choices(WORDS, k=dice.randrange(4, 9)))
                for _ in range(given.prompts)
            ]
            pair = seconds_of_generate(host, prompts), seconds_of_classify(host, prompts)
            if counted:
                generated.append(given.prompts / pair[0])
                classified.append(given.prompts / pair[1])
        one, all_of_them = statistics.median(generated), statistics.median(classified)
        print(f"{name:>24} {one:10.0f} {all_of_them:10.0f} {all_of_them / one:7.2f}")
    host.ask("quit")


if __name__ == "__main__":
    main()
