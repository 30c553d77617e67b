"""Training and evaluation: their options, and the stream of a training's progress."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Literal, TypedDict

from mlxwire_protocol.training.replies import TrainProgress, TrainResult

from .errors import NotInitialized
from .options import Path
from .requests.train_request import TrainRequest
from .results import convert_reply
from .stream import ReplyStream


class DataOptions(TypedDict, total=False):
    """Options of `Model.train` and `Model.evaluate`: how the data is read.

    ``batch_size``: rows of one forward pass. ``mask_prompt``: count the loss of answers alone.
    ``max_sequence``: tokens at which a row is cut off. ``memory_limit``: bytes that the process
    may take. ``deadline_seconds`` counts in the worker, from the arrival of the request.
    """

    batch_size: int
    mask_prompt: bool
    max_sequence: int
    memory_limit: int | None
    deadline_seconds: float | None


class EvaluateOptions(DataOptions, total=False):
    """Options of `Model.evaluate`. ``adapter``: the name of a loaded adapter; left out, none."""

    adapter: str | None


class TrainOptions(DataOptions, total=False):
    """Options of `Model.train`; docs/training.md explains each and has its default.

    ``layers``: how many of the last layers to adapt (default: all). ``keys``: names of modules
    within a layer (default: all linear ones). ``iterations``: steps of the optimizer; ``epochs``:
    passes over the data in their place. ``validation``: a file, or a share of the data between 0
    and 1. ``evaluate_every``, ``save_every``: in steps, 0 for never. ``resume``: go on from the
    last checkpoint in ``out``. ``load_as``: load the result under this name.
    """

    method: Literal["lora", "dora", "full"]
    rank: int
    scale: float
    dropout: float
    layers: int | None
    keys: Sequence[str] | None
    iterations: int | None
    epochs: float | None
    learning_rate: float
    schedule: Literal["constant", "linear", "cosine"]
    warmup: int
    optimizer: Literal["adamw", "sgd", "adafactor", "lion", "muon"]
    weight_decay: float | None
    gradient_accumulation: int
    gradient_checkpointing: bool
    gradient_clip: float | None
    dtype: Literal["float32", "bfloat16"]
    format: Literal["mlx", "peft"]
    validation: Path | float | None
    evaluate_every: int
    save_every: int
    seed: int
    resume: bool
    load_as: str | None


class Training(ReplyStream[TrainProgress]):
    """The stream of `Model.train`: an async iterator over `TrainProgress`.

    The training runs whether its progress is taken or not. Leaving the stream early cancels the
    training, which saves a checkpoint first.
    """

    def __init__(self, request: TrainRequest) -> None:
        super().__init__(request)
        self._training = request

    @property
    def checkpoint(self) -> str | None:
        """The folder of the checkpoint that a cancelled or failed training names, or None."""
        return self._training.checkpoint

    async def result(self) -> TrainResult:
        """Wait for the end, and return the result. Progress that was not taken is dropped.

        May be called again. Raises: RequestCancelled, whose ``data["checkpoint"]`` names the folder
        to resume from, TrainingFailed, OutOfMemory, and the errors that end any request.
        """
        while await self.take_available():
            pass  # the result has the figures of the whole training
        final = self._training.final
        assert final is not None
        return convert_reply(final, TrainResult)

    async def cancel(self) -> str | None:
        """Cancel the training, wait until it has saved a checkpoint, and return its folder.

        The current step is ended first. None: it had not begun, or had ended before. Limit the
        wait with `asyncio.timeout`, if you must.
        """
        request = self._training
        request.check_loop()
        if request.state == "running":
            request.stop()
        elif request.state != "ended":
            self.abandon()
        while not request.over:
            await request.wait()
        return request.checkpoint

    async def aclose(self) -> None:
        """Cancel the training as `cancel` does, unless it has ended."""
        state = self._training.state
        if state == "running":
            with contextlib.suppress(NotInitialized):  # a fork of the host: it is the host's
                await self.cancel()
        elif state != "ended":
            await super().aclose()
