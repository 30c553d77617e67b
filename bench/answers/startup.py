"""From start to answers: the handshake, the first model, the first request against the second.

    python -m bench.answers.startup [--rounds 20] [--model FOLDER]

Every round measures a bare interpreter and the worker side by side, so that a busy machine
slows both; the medians are reported, and the judged ones with their bound.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from support.driver import Driver  # noqa: E402

TINY = REPOSITORY / "testdata" / "tiny"
PROMPT = {"prompt": "Once upon a time there was", "max_tokens": 16, "ignore_eos": True}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model or _model(Path(scratch))
        # The first round fills the system's file cache and MLX's compile cache.
        _loaded(model)
        rounds = [_round(model) for _ in range(options.rounds)]
    bare, hello, loaded, first, second = (
        median(column) for column in zip(*rounds, strict=True)
    )
    print(f"medians of {options.rounds}, model {model.name}")
    _row("bare `python -c pass`", bare, "ms")
    _row("start to hello answered", hello, "ms")
    _row("  over bare (at most 60 ms)", hello - bare, "ms")
    _row("start to model loaded and warm (at most 1200 ms)", loaded, "ms")
    _row("first request after load", first, "ms")
    _row("second request", second, "ms")
    print(f"{'  first to second (at most 1.5)':52}{first / second:8.2f}")


def _round(model: Path) -> tuple[float, float, float, float, float]:
    return (_seconds(_bare), _greeted(), *_loaded(model))


def _bare() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def _greeted() -> float:
    """Return the seconds from the start of the process to the answer to `hello`."""
    began = time.perf_counter()
    with Driver() as worker:
        worker.hello()
        return time.perf_counter() - began


def _loaded(model: Path) -> tuple[float, float, float]:
    """Return seconds: start to the load's end, the first request, the second request."""
    began = time.perf_counter()
    with Driver() as worker:
        worker.hello()
        worker.load(str(model))
        loaded = time.perf_counter() - began
        requests = [_seconds(lambda: worker.ask("generate", **PROMPT)) for _ in range(2)]
    return loaded, requests[0], requests[1]


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _model(scratch: Path) -> Path:
    """Return the folder of the tiny model, or make a model with random weights."""
    if (TINY / "model.safetensors").exists():
        return TINY
    from factories import build_model

    return build_model("qwen3", scratch / "qwen3-random")


def _row(name: str, seconds: float, unit: str) -> None:
    print(f"{name:52}{seconds * 1000:8.1f} {unit}")


if __name__ == "__main__":
    main()
