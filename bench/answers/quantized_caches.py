"""The cost of `kv_bits`: a decode step with quantized keys and values, over one without.

    python -m bench.answers.quantized_caches [--model testdata/tiny] [--group-size 32] [--rounds 5]

Steps are those of the worker's engine in this process, of 1, 4 and 16 rows with contexts of 100 and
2,000 tokens. Each round takes the cases in random order. The table shows the least of the rounds, the
ratio over no quantization, and over the same rows one after the other, as before batches took them.
"""

from __future__ import annotations

import argparse
import os
import random

from bench.common.decode_steps import median_step
from mlxwire_worker.engine import Engine, LoadOptions
from mlxwire_worker.mlx_engine.importing import import_or_explain
from mlxwire_worker.prompts import Prompt, SamplingParams

STEPS = 12
ROWS = (1, 4, 16)
CONTEXTS = (100, 2000)
BITS = (None, 8, 4)


def load(path: str, bits: int | None, group_size: int) -> Engine:
    """Load the model into an engine of its own."""
    from mlxwire_worker.mlx_engine.engine import MlxEngine

    engine = MlxEngine()
    engine.preload()
    options = LoadOptions(path=path, kv_bits=bits, kv_group_size=group_size)
    engine.load(options, lambda *_: None)
    return engine


def step(engine: Engine, rows: int, context: int) -> float:
    """Return the median seconds of a step; the prompts share all tokens but the last."""
    return median_step(
        engine, [_prompt(engine, context, place) for place in range(rows)], STEPS
    )


def _prompt(engine: Engine, context: int, place: int) -> Prompt:
    params = SamplingParams(max_tokens=4 * STEPS, ignore_eos=True)
    prompt = engine.text_prompt("x", params, field="prompt")
    prompt.ids = [100 + (n * 31) % 190 for n in range(context - 1)] + [100 + place]
    return prompt


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="testdata/tiny")
    parser.add_argument("--group-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    import_or_explain()
    engines = {bits: load(given.model, bits, given.group_size) for bits in BITS}
    cases = [(bits, rows, context) for context in CONTEXTS for rows in ROWS for bits in BITS]
    times: dict[tuple[int | None, int, int], float] = {}
    for _ in range(given.rounds):
        for case in random.sample(cases, len(cases)):
            bits, rows, context = case
            seconds = step(engines[bits], rows, context)
            times[case] = min(times.get(case, seconds), seconds)
    print(f"least of {given.rounds} rounds, load average {os.getloadavg()[0]:.1f}")
    print("  context  rows  bits        step   over none   over one by one")
    for bits, rows, context in cases:
        seconds = times[bits, rows, context]
        plain, alone = times[None, rows, context], rows * times[bits, 1, context]
        print(
            f"  {context:>7}  {rows:>4}  {bits or 'none':>4}  {1e3 * seconds:7.2f} ms"
            f"  {seconds / plain:10.2f}  {seconds / alone:16.2f}"
        )


if __name__ == "__main__":
    main()
