"""The request `train`: its progress, its cancel, and the checkpoint that it leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from mlxwire_protocol.replies import Progress
from mlxwire_protocol.training.replies import TrainProgress

from ..errors import MlxwireError
from ..results import convert_reply
from .failures import training_cancelled
from .route import Connector
from .stream_request import BufferedRequest

TRAIN_STAGE = "train"
"""The stage of progress that has losses; `check` and `load` come before it."""
MOST_REPORTS = 10_000
"""The most reports that wait for a consumer; the oldest are dropped, since each counts from the start."""
SAVING_SECONDS = 120.0
"""The least time that a cancelled training has to end its step and to save a checkpoint."""


class TrainRequest(BufferedRequest[TrainProgress]):
    """A request `train`: the consumer takes the reports of its steps.

    The limits of a worker's requests do not hold for it: a training takes as long as it takes.
    """

    def __init__(
        self,
        connector: Connector,
        fields: Mapping[str, Any],
        *,
        timeout: float | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> None:
        super().__init__(
            connector,
            "train",
            fields,
            timeout=timeout,
            idle_timeout=None,
            on_progress=on_progress,
        )
        self.buffer = deque(maxlen=MOST_REPORTS)
        self.checkpoint: str | None = None
        self._drain = max(self._drain, SAVING_SECONDS)
        self._stopped = False

    def stop(self) -> None:
        """Cancel a running training in the worker, once; its end comes as any other end."""
        if self._stopped:
            return
        self._stopped = True
        assert self._sender is not None
        assert self.id is not None
        self._sender.send_cancel(self.id)

    def take_reply(self, message: dict[str, Any], ended: bool) -> None:
        if not ended and message.get("stage") == TRAIN_STAGE and self.state == "running":
            self.buffer.append(convert_reply(message, TrainProgress))
            self.wake()
        super().take_reply(message, ended)

    def _hand_progress(self, message: dict[str, Any]) -> object:
        assert self._on_progress is not None
        kind = TrainProgress if message.get("stage") == TRAIN_STAGE else Progress
        return self._on_progress(convert_reply(message, kind))

    def _take_final(self, message: dict[str, Any]) -> None:
        saved = _checkpoint_of(message)
        if message.get("finish_reason") == "cancelled" and self._interruption is None:
            self.error = self.error or training_cancelled(saved, message.get("step"))
        super()._take_final(message)
        self.checkpoint = saved

    @property
    def _interruption(self) -> MlxwireError | None:
        return None if self._sender is None else self._sender.interruption


def _checkpoint_of(message: Mapping[str, Any]) -> str | None:
    """Return the checkpoint that a final reply names: that of a cancel, or the data of an error."""
    error = message.get("error")
    source = error.get("data") if isinstance(error, Mapping) else message
    saved = source.get("checkpoint") if isinstance(source, Mapping) else None
    return saved if isinstance(saved, str) else None
