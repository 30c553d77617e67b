"""Batches of rows for the trainer, drawn in worker processes so that the accelerator never waits."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from conversations import conversation
from numpy.typing import NDArray
from tokenizers import Tokenizer

FOLDER = Path(__file__).parent.parent / "tiny"


@dataclass(frozen=True)
class Bucket:
    length: int
    rows: int
    share: float


# Long rows teach the late turns of a chat: rotary positions aren't learned beyond what is seen.
BUCKETS = (Bucket(128, 128, 0.5), Bucket(384, 44, 0.35), Bucket(1024, 16, 0.15))


@dataclass(frozen=True)
class Batch:
    tokens: NDArray[np.int16]  # [rows, length + 1]
    weights: NDArray[np.float16]  # [rows, length + 1], the loss weight of predicting each token


_tokenizer: Tokenizer | None = None


def tokenizer() -> Tokenizer:
    global _tokenizer
    if _tokenizer is None:
        _tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    return _tokenizer


def row(rng: random.Random, length: int) -> tuple[list[int], list[float]]:
    """Whole turn groups until one doesn't fit; then padding without loss."""
    tokens: list[int] = []
    weights: list[float] = []
    while not any(weights):
        tokens, weights = [], []
        for group in conversation(rng, room=length):
            pieces = [(text, weight) for text, weight in group if text]
            coded = tokenizer().encode_batch(
                [text for text, _ in pieces], add_special_tokens=False
            )
            if len(tokens) + sum(len(code.ids) for code in coded) > length + 1:
                break
            for code, (_, weight) in zip(coded, pieces, strict=True):
                tokens += code.ids
                weights += [weight] * len(code.ids)
    pad = length + 1 - len(tokens)
    end = tokenizer().encode("<|endoftext|>").ids[0]
    return tokens + [end] * pad, weights + [0.0] * pad


def make_batch(job: tuple[int, int, float]) -> Batch:
    """The batch of a step: the same for the same (seed, step, scale) wherever it is made."""
    seed, step, scale = job
    rng = random.Random(f"{seed}:{step}")
    bucket = rng.choices(BUCKETS, weights=[b.share for b in BUCKETS])[0]
    rows = [row(rng, bucket.length) for _ in range(max(1, int(bucket.rows * scale)))]
    tokens = np.array([tokens for tokens, _ in rows], np.int16)
    return Batch(tokens, np.array([weights for _, weights in rows], np.float16))


def batches(seed: int, steps: int, *, workers: int, scale: float = 1.0) -> Iterator[Batch]:
    """All steps' batches in order; `scale` below 1 makes them smaller, for trials on a CPU."""
    jobs = ((seed, step, scale) for step in range(steps))
    if workers == 0:
        yield from map(make_batch, jobs)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(make_batch, jobs, chunksize=8)
