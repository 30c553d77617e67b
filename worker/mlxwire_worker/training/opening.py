"""Opens the model of a run: checks its folder, builds its modules and tokenizer, reads its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from mlxwire_protocol import WireError

from ..engine import LoadOptions
from ..mlx_engine.adapters.applying import check_adapter
from ..mlx_engine.models.assembly import assemble, materialize, weight_bytes
from ..mlx_engine.models.preflight import CheckedModel, check_model
from ..mlx_engine.text.chat_template import Templates, find_templates
from ..mlx_engine.text.tokenizer import Tokenizer
from .events import Worker
from .spec import ComputeDtype, Spec

_CODES = {"bfloat16": "BF16", "float16": "F16"}
"""Dtypes that are narrower than float32, as safetensors names them."""


class Opened(NamedTuple):
    """A built model, without its weights, and what encodes its text; ``context`` is in tokens."""

    model: Any
    checked: CheckedModel
    context: int
    tokenizer: Tokenizer
    templates: Templates | None


def open_model(spec: Spec, worker: Worker) -> Opened:
    """Check the model's folder, and an adapter's, and build it. Raises: WireError; Cancelled."""
    path = Path(spec.model)
    checked = check_model(path)
    adapter = None if spec.adapter is None else Path(spec.adapter)
    options = LoadOptions(
        path=spec.model,
        compute_dtype=_unless_stored(spec.compute_dtype, checked),
        memory_limit=spec.options.memory_limit,
    )
    with _naming_adapter():
        if adapter is not None:
            check_adapter(adapter)
        assembled = assemble(options, checked, adapter, worker.check)
    return Opened(
        model=assembled.model,
        checked=checked,
        context=assembled.context.tokens,
        tokenizer=Tokenizer.from_folder(path),
        templates=find_templates(path),
    )


@contextmanager
def _naming_adapter() -> Iterator[None]:
    """Name the field `adapter` in errors that are about the `adapter_path` of a load."""
    try:
        yield
    except WireError as error:
        if error.data.get("field") == "adapter_path":
            error.data["field"] = "adapter"
        raise


def _unless_stored(dtype: ComputeDtype, checked: CheckedModel) -> ComputeDtype:
    """Return `stored` for quantized weights that compute in a dtype without being expanded."""
    codes = {t.dtype for name, t in checked.tensors.items() if name.endswith(".scales")}
    return "stored" if codes == {_CODES.get(dtype)} else dtype


def read_weights(opened: Opened, limit: int | None, worker: Worker) -> None:
    """Bring the weights into memory. Raises: WireError ``out_of_memory``; Cancelled."""
    size = weight_bytes(opened.model)
    if limit:
        if size > limit:
            raise WireError(
                "out_of_memory",
                f"the weights take {size} bytes, but `memory_limit` is {limit}; raise it, or use a "
                "smaller or a quantized model",
                retryable=False,
                data={"memory_limit": limit, "needed": size},
            )
        mx.set_memory_limit(limit)
    materialize(opened.model, worker.report)
