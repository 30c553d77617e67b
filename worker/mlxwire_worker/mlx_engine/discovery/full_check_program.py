"""`python -P -m mlxwire_worker.mlx_engine.discovery.full_check_program`: builds models, reads no weight.

For each line of stdin, the path of a folder as JSON, it writes one line to stdout: the ``info`` of the
model, or the ``error`` that a load would end with. It ends at the end of stdin.
"""

from __future__ import annotations

from ...process.import_path import leave_working_folder

leave_working_folder()  # before any import that is not a part of this package

import gc  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from msgspec import structs  # noqa: E402

from mlxwire_protocol import error_body  # noqa: E402

from ...engine import LoadOptions  # noqa: E402
from ...process.stdio import claim_wire  # noqa: E402
from ...requests.failures import failure_of  # noqa: E402


def main() -> None:
    """Check each folder that is named."""
    wire_in, wire_out = claim_wire()
    assert wire_out is not None
    from ..text.template_process import TemplateProcess

    templates = TemplateProcess()
    try:
        with os.fdopen(wire_in, "rb") as lines:
            for line in lines:
                if line.strip():
                    answer = json.dumps(_check(json.loads(line), templates))
                    os.write(wire_out, answer.encode() + b"\n")
    finally:
        templates.close()


def _check(path: str, templates: Any) -> dict[str, Any]:
    try:
        return {"info": _info(path, templates)}
    except Exception as error:
        return {"error": structs.asdict(error_body(failure_of(error)))}
    finally:
        gc.collect()


def _info(path: str, templates: Any) -> dict[str, Any]:
    from ..importing import import_or_explain

    import_or_explain()
    from .. import loading
    from ..conversation.settling import settle_template
    from ..encoders import loading as encoders

    options = LoadOptions(path=path, compute_dtype="stored", warmup=False)
    if encoders.is_encoder_folder(Path(path)):
        return structs.asdict(encoders.build(options, Path(path), None, lambda *_: None).info)
    loaded = loading.build(options, Path(path), None, lambda *_: None)
    settle_template(loaded, templates)
    return structs.asdict(loaded.info)


if __name__ == "__main__":
    main()
