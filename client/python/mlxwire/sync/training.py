"""Blocking iterator over the progress of a training."""

from __future__ import annotations

from mlxwire_protocol.training.replies import TrainProgress, TrainResult

from ..training import Training as AsyncTraining
from .loop_thread import LoopThread
from .stream import ReplyStream


class Training(ReplyStream[TrainProgress]):
    """The stream of `Model.train`: an iterator over `TrainProgress`.

    The training runs whether its progress is taken or not. Leaving the stream early cancels the
    training, which saves a checkpoint first.
    """

    def __init__(self, thread: LoopThread, stream: AsyncTraining) -> None:
        super().__init__(thread, stream)
        self._training = stream

    @property
    def checkpoint(self) -> str | None:
        """The folder of the checkpoint that a cancelled or failed training names, or None."""
        return self._training.checkpoint

    def result(self) -> TrainResult:
        """Wait for the end, and return the result, as `mlxwire.Training.result` does."""
        result = self._run(self._training.result)
        self._taken.clear()
        return result

    def cancel(self) -> str | None:
        """Cancel the training, wait until it has saved a checkpoint, and return its folder."""
        return self._run(self._training.cancel)
