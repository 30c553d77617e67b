"""Times the decode steps of the worker's engine in this process; the other benchmarks use it."""

from __future__ import annotations

import statistics
import time

from mlxwire_worker.engine import Engine
from mlxwire_worker.prompts import Prompt, Sampled


def median_step(engine: Engine, prompts: list[Prompt], steps: int) -> float:
    """Return the median seconds of ``steps`` steps, once each prompt has had three tokens."""
    for prompt in prompts:
        engine.add(prompt)
    tokens = dict.fromkeys(prompts, 0)
    while min(tokens.values()) < 3:
        _count(engine, tokens)
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        _count(engine, tokens)
        seconds.append(time.perf_counter() - started)
    engine.remove(prompts)
    return statistics.median(seconds)


def _count(engine: Engine, tokens: dict[Prompt, int]) -> None:
    for result in engine.step():
        if isinstance(result, Sampled):
            tokens[result.prompt] += 1
