"""The two tasks, from a specification to the figures of the result: train and evaluate."""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
from msgspec import structs

from mlxwire_protocol import WireError, invalid_params

from ..engine import Cancelled
from ..mlx_engine.cache.cache_files import fingerprint
from ..mlx_engine.text.template_process import TemplateProcess
from .adapting import choose_trained
from .data.batches import Batches, in_order
from .data.files import check_enough, find_evaluation, find_training, read_rows, split
from .data.rows import Row, RowEncoder
from .events import Worker
from .failures import CODE, explained
from .formats import as_mlx, as_peft, check_peft
from .gradient_checkpointing import Seeds, checkpointed
from .loss import mean_loss
from .opening import Opened, open_model, read_weights
from .optimizers import weight_decay
from .saving import Checkpoint, Output, compare
from .spec import DEFAULT_ITERATIONS, EvaluateSpec, TrainOptions, TrainSpec
from .trainer import Trainer

_FREE = frozenset(
    {
        *("data", "validation", "out", "resume", "load_as", "memory_limit", "save_every"),
        *("evaluate_every", "iterations", "epochs", "gradient_checkpointing", "weight_decay"),
    }
)
"""Options that a resumed run may change, and those that are compared in another form."""


def train(spec: TrainSpec, worker: Worker) -> None:
    """Train, and send the result, or that it was cancelled. Raises: WireError; Cancelled."""
    options = spec.options
    output = Output(options.out)
    checkpoint = _checkpoint(options, output)
    opened = open_model(spec, worker)
    longest = min(options.max_sequence, opened.context)
    rows, validation = _training_rows(options, opened, longest, worker)
    check_enough(rows, options.batch_size, options.gradient_accumulation)
    batches = Batches(
        rows,
        options.batch_size,
        options.gradient_accumulation,
        seed=options.seed,
        longest=longest,
    )
    steps = options.iterations or DEFAULT_ITERATIONS
    if options.epochs is not None:
        steps = max(1, round(options.epochs * batches.steps_an_epoch))
    shared = _shared_options(spec, opened, rows)
    if checkpoint is not None:
        compare(checkpoint, shared)
        _check_length(checkpoint, steps, options)
    mx.random.seed(options.seed % 2**64)
    quantized = any(name.endswith(".scales") for name in opened.checked.tensors)
    trained = choose_trained(opened.model, options, quantized=quantized)
    if options.format == "peft":
        check_peft(opened.model, trained, opened.checked.tensors)
    read_weights(opened, options.memory_limit, worker)
    make = as_peft if options.format == "peft" else as_mlx
    seeds = Seeds()
    trainer = Trainer(
        opened.model,
        options,
        batches,
        validation,
        steps=steps,
        longest=longest,
        output=output,
        files=lambda tensors: make(options, trained, tensors, spec.model),
        shared=shared,
        seeds=seeds,
        worker=worker,
    )
    if checkpoint is not None:
        trainer.restore(checkpoint)
    trainer.check_room()
    if checkpoint is None:
        output.forget()
    recompute = options.gradient_checkpointing
    with checkpointed(opened.model.layers, seeds, recompute=recompute):
        try:
            figures = trainer.run()
        except Cancelled:
            worker.ended(*trainer.save_where_it_stands())
            return
    worker.result(
        {
            **figures,
            "rows": len(rows),
            "truncated_rows": sum(row.truncated for row in (*rows, *validation)),
            "format": options.format,
            "method": options.method,
        }
    )


def evaluate(spec: EvaluateSpec, worker: Worker) -> None:
    """Compute the loss of a data file, and send the result. Raises: WireError; Cancelled.

    Unlike in a training no padding counts: the perplexity is that of the file's own tokens.
    """
    options = spec.options
    started = time.perf_counter()
    opened = open_model(spec, worker)
    longest = min(options.max_sequence, opened.context)
    file = find_evaluation(options.data)
    with _encoder(opened, longest, mask_prompt=options.mask_prompt) as encoder:
        rows = read_rows(file, encoder.encode, partial(worker.report, "check"), "data")
    read_weights(opened, options.memory_limit, worker)
    batches = list(in_order(rows, options.batch_size, longest, learns_end=False))
    report = partial(worker.report, "evaluate", total=len(rows))
    try:
        loss = mean_loss(opened.model, batches, report)
    except Cancelled:
        raise
    except Exception as error:  # MLX and the models raise whatever they meet
        raise explained(error, "the evaluation", {}) from error
    if not math.isfinite(loss):
        raise WireError(
            CODE,
            "the loss of the data is not finite: the model's weights or its adapter are damaged, or "
            "`compute_dtype` is too narrow for it; load the model with `compute_dtype` float32",
        )
    worker.result(
        {
            "loss": loss,
            "perplexity": _perplexity(loss),
            "tokens": sum(batch.targets for batch in batches),
            "rows": len(rows),
            "truncated_rows": sum(row.truncated for row in rows),
            "seconds": time.perf_counter() - started,
        }
    )


def _perplexity(loss: float) -> float:
    try:
        return math.exp(loss)
    except OverflowError:
        return sys.float_info.max


def _checkpoint(options: TrainOptions, output: Output) -> Checkpoint | None:
    """Return the checkpoint that ``resume`` asks for, else None. Raises: WireError if `out` has none."""
    if not options.resume:
        return None
    checkpoint = output.last()
    if checkpoint is None:
        raise invalid_params(
            "resume",
            f"there is no checkpoint in {options.out!r} to resume from; leave `resume` out, or give the "
            "`out` of the training to go on with",
        )
    return checkpoint


@contextlib.contextmanager
def _encoder(opened: Opened, longest: int, *, mask_prompt: bool) -> Iterator[RowEncoder]:
    """Yield an encoder of rows, whose process for templates ends with the block."""
    process = TemplateProcess()
    try:
        yield RowEncoder(
            opened.tokenizer,
            opened.templates,
            process,
            longest=longest,
            mask_prompt=mask_prompt,
        )
    finally:
        process.close()


def _training_rows(
    options: TrainOptions, opened: Opened, longest: int, worker: Worker
) -> tuple[list[Row], list[Row]]:
    """Return the rows to train on and those to validate with. Raises: WireError; Cancelled."""
    found = find_training(options.data, options.validation)
    report = partial(worker.report, "check")
    with _encoder(opened, longest, mask_prompt=options.mask_prompt) as encoder:
        rows = read_rows(found.train, encoder.encode, report, "data")
        if found.validation is not None:
            return rows, read_rows(found.validation, encoder.encode, report, "validation")
    if isinstance(options.validation, float):
        return split(rows, options.validation, options.seed)
    return rows, []


def _shared_options(spec: TrainSpec, opened: Opened, rows: list[Row]) -> dict[str, Any]:
    """Return what a resumed run must have as the run before: options, model and rows."""
    given = structs.asdict(spec.options)
    shared = {name: value for name, value in given.items() if name not in _FREE}
    digest = hashlib.sha256()
    for row in rows:
        digest.update(row.masked.to_bytes(8, "little") + row.ids.tobytes() + b"|")
    return {
        **shared,
        "weight_decay": weight_decay(spec.options),
        "compute_dtype": spec.compute_dtype,
        "rows": digest.hexdigest(),
        "model": fingerprint([*opened.checked.shards, Path(spec.model) / "config.json"]),
    }


def _check_length(checkpoint: Checkpoint, steps: int, options: TrainOptions) -> None:
    """Refuse a training that would end before the checkpoint. Raises: WireError."""
    step = checkpoint.state.step
    if steps < step:
        raise invalid_params(
            "iterations" if options.epochs is None else "epochs",
            f"the training would have {steps} steps, but the checkpoint is that of step {step}; ask for "
            "more, or leave `resume` out to begin anew",
        )
