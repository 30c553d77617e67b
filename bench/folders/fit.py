"""Holds the memory that `fit` predicts against the peak that MLX measures.

    python -m bench.folders.fit FOLDER… [--context-len 2048] [--slots 1] [--kv-bits N] [--compute-dtype D]

For each model folder: a worker predicts, loads the model, and answers as many prompts at once as there are
slots, each so long that its answer fills the context.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import mlxwire

NEW_TOKENS = 16
WORDS = "the quick brown fox jumps over a lazy dog and runs away "


def main() -> None:
    """Print a row for each folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--context-len", type=int, default=2048)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--kv-bits", type=int)
    parser.add_argument("--compute-dtype", default="auto")
    options = parser.parse_args()
    print("| model | dtype | slots × context | weights | predicted | measured | ratio |")
    print("|---|---|---|---|---|---|---|")
    for folder in options.folders:
        print(asyncio.run(row(folder, options)), flush=True)


async def row(folder: str, options: argparse.Namespace) -> str:
    """Predict and measure one model; return a row of the table, in MB."""
    wished: Any = {
        "context_len": options.context_len,
        "parallel_slots": options.slots,
        "compute_dtype": options.compute_dtype,
        **({"kv_bits": options.kv_bits} if options.kv_bits else {}),
    }
    async with mlxwire.Worker() as worker:
        fit = await worker.fit(folder, **wished)
        model = await worker.load(folder, **wished)
        texts = [
            await filling(model, options.context_len, place) for place in range(options.slots)
        ]
        await asyncio.gather(*(answer(model, text) for text in texts))
        peak = (await worker.memory()).peak_bytes
    figures = (fit.weight_bytes, fit.total_bytes, peak)
    shown = " | ".join(f"{figure / 1e6:,.1f}" for figure in figures)
    size = f"{fit.parallel_slots} × {fit.context_len}"
    ratio = fit.total_bytes / peak
    return f"| {fit.model_type} | {fit.compute_dtype} | {size} | {shown} | {ratio:.3f} |"


async def filling(model: mlxwire.Model, context: int, place: int) -> str:
    """Return a text of nearly so many tokens that the answer fills the context."""
    words = (f"{place} " + WORDS * (context // 4)).split()
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        told = await model.tokenize(" ".join(words[:middle]), count_only=True)
        if told.count <= context - NEW_TOKENS:
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low])


async def answer(model: mlxwire.Model, text: str) -> None:
    """Generate the tokens that are left."""
    async with model.generate(text, max_tokens=NEW_TOKENS, ignore_eos=True) as stream:
        await stream.text()


if __name__ == "__main__":
    main()
