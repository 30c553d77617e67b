"""The program that predicts: `python -m mlxwire_worker.mlx_engine.fitting.program`.

It reads a task as a line of JSON from stdin, and writes one line to stdout: ``{"result": …}`` or
``{"error": …}``. Building a model's modules changes parts of mlx-lm, which another thread may use.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from mlxwire_protocol import error_body

from ...process.stdio import claim_wire
from ...requests.failures import failure_of
from ..importing import import_or_explain


def main() -> None:
    """Make one prediction, and end the process."""
    wire_in, wire_out = claim_wire()
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"  # before MLX is imported: nothing is computed here
    with os.fdopen(wire_in, "rb", closefd=False) as source:
        line = source.readline()
    answer = _answer(line)
    if wire_out is not None:
        with os.fdopen(wire_out, "wb", closefd=False) as sink:
            sink.write(msgspec.json.encode(answer) + b"\n")
    os._exit(0)  # threads of MLX may abort a shutdown of Python


def _answer(line: bytes) -> dict[str, Any]:
    try:
        import_or_explain()
        from .predicting import FitTask, predict

        return {"result": predict(msgspec.json.decode(line, type=FitTask))}
    except Exception as error:  # the worker is told of every failure
        return {"error": error_body(failure_of(error))}


if __name__ == "__main__":
    main()
