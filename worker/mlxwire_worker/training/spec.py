"""The specification of a run: one JSON object, which the worker writes and this process reads.

The names and defaults are those of the wire's options; the worker resolves the paths. This module
imports no MLX, so that the worker refuses options that exclude each other by the same check.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from mlxwire_protocol import WireError, invalid_params

Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
ComputeDtype = Literal["auto", "float32", "bfloat16", "float16", "stored"]
Method = Literal["lora", "dora", "full"]
Schedule = Literal["constant", "linear", "cosine"]
OptimizerName = Literal["adamw", "sgd", "adafactor", "lion", "muon"]
Format = Literal["mlx", "peft"]

DEFAULT_ITERATIONS = 100
DEFAULT_RANK = 8
DEFAULT_SCALE = 20.0


class TrainOptions(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The options of a training.

    ``layers`` counts the last layers of the model, None is all of them. An iteration is one step of
    the optimizer, over ``batch_size`` times ``gradient_accumulation`` rows; an epoch has as many as
    there are such groups of rows. ``weight_decay`` is by default 0.01 for adamw, lion and muon, else
    0. ``memory_limit`` is in bytes. The worker honours ``load_as``; here it is only checked.
    """

    data: str
    out: str
    validation: str | Annotated[float, Meta(gt=0, lt=1)] | None = None
    method: Method = "lora"
    rank: Positive = DEFAULT_RANK
    scale: Annotated[float, Meta(gt=0)] = DEFAULT_SCALE
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    layers: Positive | None = None
    keys: list[str] | None = None
    iterations: Positive | None = None
    epochs: Annotated[float, Meta(gt=0)] | None = None
    batch_size: Positive = 4
    learning_rate: Annotated[float, Meta(gt=0)] = 1e-4
    schedule: Schedule = "constant"
    warmup: Count = 0
    optimizer: OptimizerName = "adamw"
    weight_decay: Annotated[float, Meta(ge=0)] | None = None
    gradient_accumulation: Positive = 1
    gradient_checkpointing: bool = False
    gradient_clip: Annotated[float, Meta(gt=0)] | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    mask_prompt: bool = False
    max_sequence: Annotated[int, Meta(ge=2)] = 2048
    format: Format = "mlx"
    memory_limit: Count | None = None
    load_as: str | None = None
    evaluate_every: Count = 200
    save_every: Count = 100
    seed: Count = 0
    resume: bool = False


class EvaluateOptions(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The options of an evaluation."""

    data: str
    batch_size: Positive = 4
    max_sequence: Annotated[int, Meta(ge=2)] = 2048
    mask_prompt: bool = False
    memory_limit: Count | None = None


class TrainSpec(
    Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag_field="task", tag="train"
):
    """A training of the model in the folder ``model``, which begins with the model alone."""

    model: str
    options: TrainOptions
    adapter: None = None
    compute_dtype: ComputeDtype = "auto"


class EvaluateSpec(
    Struct,
    kw_only=True,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="task",
    tag="evaluate",
):
    """An evaluation of the model in the folder ``model``, with the adapter in another one if set."""

    model: str
    options: EvaluateOptions
    adapter: str | None = None
    compute_dtype: ComputeDtype = "auto"


Spec = TrainSpec | EvaluateSpec


def read_spec(line: bytes) -> Spec:
    """Decode and check a specification. Raises: WireError ``invalid_params``."""
    try:
        spec: Spec = msgspec.json.decode(line, type=Spec)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        place = str(error).rpartition("$.options.")[2].split("`")[0].split("[")[0]
        raise invalid_params(
            place if place.isidentifier() else "options",
            f"the options can't be read: {error}; give each option a value that the page on "
            "training lists",
        ) from None
    if isinstance(spec, TrainSpec):
        check_options(spec.options)
    return spec


def check_options(options: TrainOptions) -> None:
    """Refuse options that exclude each other. Raises: WireError ``invalid_params``."""
    if options.iterations is not None and options.epochs is not None:
        raise _refused(
            "epochs",
            f"`iterations` is {options.iterations} and `epochs` is {options.epochs}, and each says "
            "how long the training is",
            "leave one of them out",
        )
    if options.method == "full":
        if options.load_as is not None:
            raise _refused(
                "load_as",
                "the method `full` makes no adapter that could be loaded into a running model",
                "leave `load_as` out, and load the model with `adapter_path`",
            )
        for name, given in (
            ("format", options.format == "peft"),
            ("keys", options.keys is not None),
            ("rank", options.rank != DEFAULT_RANK),
            ("scale", options.scale != DEFAULT_SCALE),
            ("dropout", options.dropout > 0),
        ):
            if given:
                raise _refused(
                    name,
                    f"`{name}` is an option of adapters, and the method `full` trains the weights "
                    "themselves",
                    f"leave `{name}` out, or set `method` to `lora` or `dora`",
                )


def _refused(field: str, problem: str, remedy: str) -> WireError:
    return invalid_params(field, f"{problem}; {remedy}")
