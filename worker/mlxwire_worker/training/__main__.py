"""The program that the worker starts to train or to evaluate: `python -m mlxwire_worker.training`.

It reads a specification as a line of JSON from stdin and writes events to stdout, until the last one:
`result`, `error` or `cancelled`. Its exit status is 0 in these cases.
"""

from __future__ import annotations

import os

from mlxwire_protocol import WireError

from ..engine import Cancelled
from ..process.stdio import claim_wire
from .events import EXIT_WORKER_GONE, Worker
from .spec import Spec, TrainSpec, read_spec

NICE = 10


def main() -> None:
    """Run one specification, and end the process."""
    wire_in, wire_out = claim_wire()
    os.nice(NICE)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"  # before MLX is imported: the worker computes beside it
    worker = Worker(wire_in, wire_out)
    line = worker.read_line()
    if not line:
        os._exit(EXIT_WORKER_GONE)
    worker.watch()
    try:
        _run(read_spec(line), worker)
    except Cancelled:
        worker.ended(None, 0)
    except WireError as error:
        worker.error(error)
    except Exception as error:  # the worker is told of every failure
        import traceback

        from .failures import explained

        traceback.print_exc()
        worker.error(explained(error, "the run", {}))
    os._exit(0)  # threads of MLX may abort a shutdown of Python


def _run(spec: Spec, worker: Worker) -> None:
    worker.report("check", 0, 1)
    from ..mlx_engine.importing import import_or_explain

    import_or_explain()
    from . import tasks

    if isinstance(spec, TrainSpec):
        tasks.train(spec, worker)
    else:
        tasks.evaluate(spec, worker)


if __name__ == "__main__":
    main()
