"""`python -P -m mlxwire_worker.mlx_engine.adapters.fusing_program MODEL ADAPTER OUT [--dequantize]`.

`mlxwire adapter fuse` runs it. It writes one JSON line to stdout, ``{"event":"result",…}`` or
``{"event":"error",…}``, and exits with 0. The end of stdin ends it early: its caller is gone.
"""

from __future__ import annotations

from ...process.import_path import leave_working_folder

leave_working_folder()  # before any import that is not a part of this package

import argparse  # noqa: E402

from ...process.child.command import run  # noqa: E402
from ...process.child.pipes import Pipes  # noqa: E402
from ...process.stdio import claim_wire  # noqa: E402


def main() -> None:
    """Fuse, and write the result or the error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("model", "adapter", "out"):
        parser.add_argument(name)
    parser.add_argument("--dequantize", action="store_true")
    options = parser.parse_args()
    run(Pipes(*claim_wire()), lambda pipes: _fuse(options, pipes), "the model can't be fused")


def _fuse(options: argparse.Namespace, pipes: Pipes) -> None:
    from ..importing import import_or_explain

    import_or_explain()
    from ..models.paths import PathPolicy
    from .fusing import fuse

    paths = PathPolicy((), (), allow_hub=False)
    model = paths.model(options.model, of_worker=False)
    adapter = paths.adapter(options.adapter)
    fused = fuse(model, adapter, options.out, dequantize=options.dequantize)
    pipes.result({**fused})


if __name__ == "__main__":
    main()
