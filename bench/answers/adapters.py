"""The cost of adapters: a step of 16 rows with adapters, over one where none is loaded.

    python -m bench.answers.adapters [--model testdata/tiny] [--rows 16] [--rank 8] [--rounds 25]

Steps are those of the worker's engine in this process, and beside them those of mlx-lm, which applies
one adapter to the whole model, with the worker's BLAS and dtype. Each round takes the cases in random
order; the table shows the least of the rounds and the ratio of each over the same engine without adapters.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.common.decode_steps import median_step
from mlxwire_worker.engine import LoadOptions
from mlxwire_worker.mlx_engine.importing import import_or_explain
from mlxwire_worker.prompts import Prompt, SamplingParams

STEPS = 20
TEXT = "What is 2 and 3?"
MIXED = 4
"""Adapters that are loaded for the case of mixed rows."""


def write_adapter(model_path: str, folder: Path, rank: int, seed: int) -> Path:
    """Write an adapter of all linear layers with random numbers, as mlx-lm's trainer saves it."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import load_model

    model, _ = load_model(Path(model_path), lazy=True)
    model.freeze()
    lora = {"rank": rank, "scale": 2.0, "dropout": 0.0}
    linear_to_lora_layers(model, len(model.layers), lora)
    mx.random.seed(seed)
    shapes: Any = tree_flatten(model.trainable_parameters())
    arrays = {name: 0.01 * mx.random.normal(array.shape) for name, array in shapes}
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapters.safetensors"), arrays)
    config = {
        "fine_tune_type": "lora",
        "num_layers": len(model.layers),
        "lora_parameters": lora,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


class Worker:
    """The worker's engine. A case is the number of adapters that are loaded, and that rows use."""

    def __init__(self, path: str, adapters: list[Path], rows: int) -> None:
        from mlxwire_worker.mlx_engine.engine import MlxEngine

        self.engine = MlxEngine()
        self.engine.preload()
        info = self.engine.load(LoadOptions(path=path), lambda *_: None)
        self.dtype = info.compute_dtype
        self._adapters = adapters
        self._rows = rows
        self._loaded = 0

    def step(self, loaded: int, used: int) -> float:
        """Return the median seconds of a step."""
        self._load(loaded)
        prompts = [self._prompt(place % used if used else None) for place in range(self._rows)]
        return median_step(self.engine, prompts, STEPS)

    def _load(self, count: int) -> None:
        while self._loaded < count:
            self.engine.load_adapter(str(self._loaded), str(self._adapters[self._loaded]))
            self._loaded += 1
        while self._loaded > count:
            self._loaded -= 1
            self.engine.unload_adapter(str(self._loaded))

    def _prompt(self, adapter: int | None) -> Prompt:
        params = SamplingParams(
            max_tokens=4 * STEPS,
            ignore_eos=True,
            cache=False,
            adapter=None if adapter is None else str(adapter),
        )
        return self.engine.text_prompt(TEXT, params, field="prompt")


class Peer:
    """mlx-lm's `BatchGenerator`, over the model and over the model with an adapter applied."""

    def __init__(self, path: str, adapter: Path, rows: int, dtype: str) -> None:
        import mlx.core as mx
        from mlx_lm.utils import load_adapters, load_model

        from mlxwire_worker.mlx_engine.text.tokenizer import Tokenizer

        self._models = []
        for applied in (False, True):
            model, _ = load_model(Path(path))
            model.set_dtype(getattr(mx, dtype))
            self._models.append(load_adapters(model, str(adapter)) if applied else model)
        self._ids = Tokenizer.from_folder(Path(path)).encode(TEXT)
        self._rows = rows

    def step(self, loaded: int, used: int) -> float:
        """Return the median seconds of a step."""
        from mlx_lm.generate import BatchGenerator

        assert loaded == used
        generator = BatchGenerator(
            self._models[used], max_tokens=4 * STEPS, completion_batch_size=self._rows
        )
        generator.insert([self._ids] * self._rows)
        seconds = []
        for step in range(STEPS + 6):
            started = time.perf_counter()
            generator.next()
            if step >= 6:
                seconds.append(time.perf_counter() - started)
        generator.close()
        return statistics.median(seconds)


CASES = {
    "worker, none loaded": (0, 0),
    "worker, one loaded, rows of the base": (1, 0),
    "worker, one loaded, all rows with it": (1, 1),
    f"worker, {MIXED} loaded, rows of all mixed": (MIXED, MIXED),
    "mlx-lm, none applied": (0, 0),
    "mlx-lm, one applied": (1, 1),
}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="testdata/tiny")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args()
    import_or_explain()
    with tempfile.TemporaryDirectory() as scratch:
        adapters = [
            write_adapter(given.model, Path(scratch) / str(n), given.rank, n)
            for n in range(MIXED)
        ]
        worker = Worker(given.model, adapters, given.rows)
        peer = Peer(given.model, adapters[0], given.rows, worker.dtype)
        times: dict[str, list[float]] = {case: [] for case in CASES}
        for _ in range(given.rounds):
            for case in random.sample(list(CASES), len(CASES)):
                engine = worker if case.startswith("worker") else peer
                times[case].append(engine.step(*CASES[case]))
    print(
        f"a step of {given.rows} rows, adapters of rank {given.rank}, {worker.dtype}, least of "
        f"{given.rounds} rounds, load average {os.getloadavg()[0]:.1f}"
    )
    for case, seconds in times.items():
        none = "worker, none loaded" if case.startswith("worker") else "mlx-lm, none applied"
        ratio = min(seconds) / min(times[none])
        print(f"  {case:<42}{1e3 * min(seconds):9.3f} ms  {ratio:6.3f}")


if __name__ == "__main__":
    main()
