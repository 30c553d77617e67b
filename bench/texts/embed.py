"""Texts a second of one `embed`, over one request for each text, and over a peer's.

    python -m bench.texts.embed --model MODEL [--pooling mean] [--texts 128] [--rounds 5] [--peer PYTHON]

Rounds alternate, the first is not counted; the table shows medians, for short texts, and for texts of many
lengths. With ``--peer`` that Python's sentence-transformers embeds the same texts, with as many threads.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import time
from collections.abc import Callable

from bench.common.host import Host

WORDS = ("cat", "dog", "king", "ship", "tree", "bear", "sad", "happy", "small", "old")
PEER = """
import json, os, sys
import torch
from sentence_transformers import SentenceTransformer
torch.set_num_threads(int(sys.argv[2]))
model = SentenceTransformer(sys.argv[1], device="cpu")
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    model.encode(json.loads(line), show_progress_bar=False)
    print(file=answers, flush=True)
"""


class Peer:
    """sentence-transformers in a process of its own."""

    def __init__(self, python: str, model: str, threads: int) -> None:
        self._process = subprocess.Popen(
            [python, "-P", "-c", PEER, model, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def embed(self, texts: list[str]) -> None:
        """Embed texts, and wait until it has."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(texts), file=self._process.stdin, flush=True)
        assert self._process.stdout.readline(), "the peer ended"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="testdata/tiny")
    parser.add_argument("--pooling")
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", metavar="PYTHON")
    given = parser.parse_args()
    host, dice = Host(given.model), random.Random(1)
    info = host.ask("info")
    pooling = given.pooling or (None if info["pooling"] else "mean")
    ways: dict[str, Callable[[list[str]], None]] = {
        "one by one": lambda texts: embed_each(host, texts, pooling),
        "together": lambda texts: embed(host, texts, pooling),
    }
    if given.peer:
        ways["the peer"] = Peer(given.peer, given.model, max(info["blas_threads"], 1)).embed
    print(f"{'words':>8} " + " ".join(f"{name:>12}" for name in ways) + "   texts a second")
    for shortest, longest in ((4, 8), (4, 100)):
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for counted in range(given.rounds + 1):
            texts = [
                " ".join(dice.choices(WORDS, k=dice.randint(shortest, longest)))
                for _ in range(given.texts)
            ]
            for name, way in ways.items():
                started = time.perf_counter()
                way(texts)
                if counted:
                    rates[name].append(len(texts) / (time.perf_counter() - started))
        shown = " ".join(f"{statistics.median(each):12.1f}" for each in rates.values())
        print(f"{f'{shortest}-{longest}':>8} {shown}")
    host.ask("quit")


def embed(host: Host, texts: list[str], pooling: str | None) -> None:
    """Embed texts in one request."""
    final = host.ask("embed", texts=texts, pooling=pooling)
    assert final["type"] == "done", final


def embed_each(host: Host, texts: list[str], pooling: str | None) -> None:
    """Embed texts, each in a request of its own, one after the other."""
    for text in texts:
        embed(host, [text], pooling)


if __name__ == "__main__":
    main()
