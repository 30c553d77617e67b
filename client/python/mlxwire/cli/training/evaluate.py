"""Evaluate a model, with or without an adapter, on a file or folder of data."""

from __future__ import annotations

from typing import cast

from mlxwire_protocol.training.replies import EvaluateResult

from ...training import EvaluateOptions
from ..arguments import Launch
from ..launch import launch_worker, load_model
from ..terminal import ProgressBar
from .options import Reading

NAME = "adapter"
"""The name under which the adapter is loaded."""


async def evaluate_once(launch: Launch, data: str, reading: Reading) -> EvaluateResult:
    """Start a worker, evaluate, and close it; return the figures. Raises: MlxwireError."""
    worker = await launch_worker(launch)
    try:
        model = await load_model(worker, launch, warmup=False, adapter=False)
        options = cast(EvaluateOptions, reading.reading())
        if launch.adapter is not None:
            await model.load_adapter(NAME, launch.adapter)
            options["adapter"] = NAME
        with ProgressBar(quiet=launch.quiet) as bar:
            return await model.evaluate(data, on_progress=bar, **options)
    finally:
        await worker.close()


def facts(result: EvaluateResult) -> dict[str, object]:
    """Return the lines about a result, for people."""
    cut_off = f", {result.truncated_rows} cut off" if result.truncated_rows else ""
    return {
        "loss": f"{result.loss:.4f}",
        "perplexity": f"{result.perplexity:.4f}",
        "tokens": result.tokens,
        "rows": f"{result.rows}{cut_off}",
        "time": f"{result.seconds:.1f} s",
    }
