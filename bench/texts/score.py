"""Tokens a second of `score`, over mlx-lm's own forward pass over each text, one by one.

    python -m bench.texts.score [--model testdata/tiny] [--texts 32] [--rounds 7]

mlx-lm computes in this process, with the worker's BLAS, threads and dtype, and keeps the log-probabilities of
the tokens alone. Rounds alternate, the first is not counted; the table shows medians, for short texts of
their own, for choices behind one question, and for a long text.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from bench.common.host import Host

WORDS = ("cat", "dog", "king", "ship", "tree", "bear", "sad", "happy", "small", "old")
QUESTION = "Say which of the following lists of words is about animals. " * 4


def forward_of(model_path: str, info: dict[str, Any]) -> Callable[[list[str]], int]:
    """Load a model with mlx-lm; return a function that scores texts and counts their tokens."""
    from mlxwire_worker.mlx_engine.mlx_patches.blas import in_use, use_fast_blas

    use_fast_blas()
    import mlx.core as mx
    from mlx_lm import load
    from mlx_lm.utils import dequantize_model

    model: Any
    model, tokenizer = load(model_path)[:2]
    if info["compute_dtype"] == "float32":
        model = dequantize_model(model)
        model.set_dtype(mx.float32)
    if (control := in_use().threads) is not None:
        control.set(info["blas_threads"])

    def score(texts: list[str]) -> int:
        tokens = 0
        for text in texts:
            ids = mx.array(tokenizer.encode(text))
            logits = model(ids[None, :-1])[0].astype(mx.float32)
            own = mx.take_along_axis(logits, ids[1:, None], axis=-1)[:, 0]
            (own - mx.logsumexp(logits, axis=-1)).tolist()
            tokens += ids.size
        return tokens

    return score


def score_by_worker(host: Host, texts: list[str]) -> int:
    """Score texts in one request, and count their tokens."""
    final = host.ask("score", texts=texts)
    assert final["type"] == "done", final
    tokens: int = final["metrics"]["prompt_tokens"]
    return tokens


def speed(score: Callable[[], int]) -> float:
    """Return the tokens a second of one call."""
    started = time.perf_counter()
    tokens = score()
    return tokens / (time.perf_counter() - started)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="testdata/tiny")
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    host, dice = Host(given.model), random.Random(1)
    forward = forward_of(given.model, host.ask("info"))

    def words(least: int, most: int) -> str:
        return " ".join(dice.choices(WORDS, k=dice.randrange(least, most)))

    kinds: dict[str, Callable[[], list[str]]] = {
        "short, of their own": lambda: [words(8, 24) for _ in range(given.texts)],
        "choices": lambda: [QUESTION + words(4, 9) for _ in range(given.texts)],
        "one long text": lambda: [words(400, 401)],
    }
    print(f"{'texts':>22} {'mlx-lm':>10} {'mlxwire':>10} {'ratio':>7}   tokens a second")
    for name, texts_of in kinds.items():
        rounds = []
        for _ in range(given.rounds + 1):
            texts = texts_of()
            rounds.append(
                (
                    speed(lambda texts=texts: forward(texts)),  # type: ignore[misc]
                    speed(lambda texts=texts: score_by_worker(host, texts)),  # type: ignore[misc]
                )
            )
        alone, ours = (statistics.median(side) for side in zip(*rounds[1:], strict=True))
        print(f"{name:>22} {alone:10.0f} {ours:10.0f} {ours / alone:7.2f}")
    host.ask("quit")


if __name__ == "__main__":
    main()
