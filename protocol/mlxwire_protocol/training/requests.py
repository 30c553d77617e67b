"""The requests `train` and `evaluate` as types: fields, defaults and ranges."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from ..messages import AdapterFormat, AdapterName, Command, Count, Path, Positive

Method = Literal["lora", "dora", "full"]
Schedule = Literal["constant", "linear", "cosine"]
OptimizerName = Literal["adamw", "sgd", "adafactor", "lion", "muon"]


class Data(Command, kw_only=True, frozen=True):
    """A file or folder of JSONL, and how its rows are read; shared by `train` and `evaluate`.

    A row has `messages` (perhaps with `tools`), `prompt` and `completion`, or `text`. With
    ``mask_prompt`` the loss counts the answer alone. Rows are cut at ``max_sequence`` tokens.
    """

    data: Path
    batch_size: Annotated[int, Meta(ge=1, le=4096)] = 4
    mask_prompt: bool = False
    max_sequence: Annotated[int, Meta(ge=2, le=1 << 20)] = 2048
    memory_limit: Count | None = None
    deadline_seconds: Annotated[float, Meta(gt=0, le=1e7)] | None = None


class Train(Data, kw_only=True, frozen=True, tag="train"):
    """Train an adapter, or all weights, of the loaded model in a process of its own.

    ``iterations`` are steps of the optimizer; ``epochs`` count passes over the data in their place.
    ``layers`` is the number of last layers to adapt, None for all; ``keys`` are the names of modules
    within a layer, None for all linear ones. ``validation`` is a file, or a share of the data.
    ``evaluate_every`` and ``save_every`` are in steps, 0 for never. ``load_as`` loads the result
    under this name. ``resume`` goes on from the last checkpoint in ``out``.
    """

    out: Path
    method: Method = "lora"
    rank: Annotated[int, Meta(ge=1, le=4096)] = 8
    scale: Annotated[float, Meta(gt=0, le=1e6)] = 20.0
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    layers: Positive | None = None
    keys: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=256)]],
            Meta(min_length=1, max_length=1024),
        ]
        | None
    ) = None
    iterations: Positive | None = None
    epochs: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    learning_rate: Annotated[float, Meta(gt=0, le=1e3)] = 1e-4
    schedule: Schedule = "constant"
    warmup: Count = 0
    optimizer: OptimizerName = "adamw"
    weight_decay: Annotated[float, Meta(ge=0, le=1e3)] | None = None
    gradient_accumulation: Annotated[int, Meta(ge=1, le=65536)] = 1
    gradient_checkpointing: bool = False
    gradient_clip: Annotated[float, Meta(gt=0)] | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    format: AdapterFormat = "mlx"
    validation: Path | Annotated[float, Meta(gt=0, lt=1)] | None = None
    evaluate_every: Count = 200
    save_every: Count = 100
    seed: Count = 0
    resume: bool = False
    load_as: AdapterName | None = None


class Evaluate(Data, kw_only=True, frozen=True, tag="evaluate"):
    """Return the loss and the perplexity of data, of the loaded model with or without an adapter."""

    adapter: AdapterName | None = None
