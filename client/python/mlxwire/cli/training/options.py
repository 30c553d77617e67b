"""The arguments and options of `train` and `evaluate`; the worker has the defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any, cast

from typer import Argument, Option

from ...training import DataOptions, TrainOptions


class Method(StrEnum):
    """The ways to train."""

    LORA = "lora"
    DORA = "dora"
    FULL = "full"


class Schedule(StrEnum):
    """The courses of the learning rate after the warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


class Optimizer(StrEnum):
    """The optimizers."""

    ADAMW = "adamw"
    SGD = "sgd"
    ADAFACTOR = "adafactor"
    LION = "lion"
    MUON = "muon"


class Dtype(StrEnum):
    """The dtypes of an adapter."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Format(StrEnum):
    """The formats of an adapter's folder."""

    MLX = "mlx"
    PEFT = "peft"


Data = Annotated[
    str, Argument(metavar="DATA", help="A file or a folder of JSONL: see docs/training.md.")
]
Out = Annotated[str, Option(metavar="DIR", help="The folder of the result.")]
Lines = Annotated[
    bool,
    Option("--json", help="One JSON object a line: each report of progress, then the result."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The options that say how data is read, of both commands."""

    batch_size: Annotated[int | None, Option(min=1, help="Rows of one pass: 4.")] = None
    mask_prompt: Annotated[
        bool | None, Option("--mask-prompt", help="Count the loss of answers alone.")
    ] = None
    max_sequence: Annotated[
        int | None, Option(min=2, help="Tokens at which a row is cut off: 2048.")
    ] = None
    memory_limit: Annotated[
        int | None, Option(min=0, metavar="BYTES", help="Memory that the process may take.")
    ] = None
    deadline_seconds: Annotated[
        float | None, Option(metavar="SECONDS", help="End the request after that long.")
    ] = None

    def reading(self) -> DataOptions:
        """Return the options that were given."""
        return cast(DataOptions, given(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """The options of `train` alone."""

    method: Annotated[Method | None, Option(help="What is trained: lora.")] = None
    rank: Annotated[int | None, Option(min=1, help="The rank of the adapter: 8.")] = None
    scale: Annotated[float | None, Option(help="The factor of what it adds: 20.")] = None
    dropout: Annotated[
        float | None, Option(min=0, help="The share of inputs dropped in a step: 0.")
    ] = None
    layers: Annotated[int | None, Option(min=1, help="How many of the last: all.")] = None
    keys: Annotated[
        list[str] | None,
        Option(metavar="NAME", help="A module within a layer. Repeatable. All linear ones."),
    ] = None
    iterations: Annotated[
        int | None, Option(min=1, help="Steps of the optimizer: see docs/training.md.")
    ] = None
    epochs: Annotated[
        float | None, Option(help="Passes over the data, in place of --iterations.")
    ] = None
    learning_rate: Annotated[float | None, Option(help="The learning rate: 1e-4.")] = None
    schedule: Annotated[Schedule | None, Option(help="Its course: constant.")] = None
    warmup: Annotated[int | None, Option(min=0, help="Steps in which it rises: 0.")] = None
    optimizer: Annotated[Optimizer | None, Option(help="The optimizer: adamw.")] = None
    weight_decay: Annotated[
        float | None, Option(min=0, help="The weight decay: the optimizer's own.")
    ] = None
    gradient_accumulation: Annotated[
        int | None, Option(min=1, help="Batches that make one step: 1.")
    ] = None
    gradient_checkpointing: Annotated[
        bool | None,
        Option("--gradient-checkpointing", help="Take time in place of memory."),
    ] = None
    gradient_clip: Annotated[
        float | None, Option(help="The largest norm of a gradient: none.")
    ] = None
    dtype: Annotated[Dtype | None, Option(help="The adapter's dtype: float32.")] = None
    format: Annotated[Format | None, Option(help="The result's format: mlx.")] = None
    validation: Annotated[
        str | None,
        Option(metavar="FILE|SHARE", help="A file, or a share of DATA between 0 and 1: none."),
    ] = None
    evaluate_every: Annotated[
        int | None, Option(min=0, help="Steps between validation losses: 200; 0 is never.")
    ] = None
    save_every: Annotated[
        int | None, Option(min=0, help="Steps between checkpoints: 100; 0 is never.")
    ] = None
    seed: Annotated[int | None, Option(min=0, help="The seed: 0.")] = None
    resume: Annotated[
        bool | None, Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = None

    def learning(self) -> TrainOptions:
        """Return the options that were given, a share of the data as a number."""
        options = given(self)
        if self.validation is not None:
            options["validation"] = share_or_path(self.validation)
        return cast(TrainOptions, options)


def given(group: Any) -> dict[str, Any]:
    """Return the options of a group that were given, as plain values."""
    return {
        name: str(value) if isinstance(value, StrEnum) else value
        for name, value in asdict(group).items()
        if value not in (None, [])
    }


def share_or_path(text: str) -> float | str:
    """Return a number as such, and anything else as a path."""
    try:
        return float(text)
    except ValueError:
        return text
