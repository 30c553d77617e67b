"""The loop of a training: batches to gradients, gradients to weights, and checkpoints between.

mlx-lm's own loop (0.32.2) writes to stdout, keeps no state of the optimizer and can't be cancelled.
Nothing here depends on what an earlier step left but weights, optimizer and the number of the step:
rows, rate and dropout follow from that number, so a run that is resumed equals one that never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import mlx.core as mx
from mlx.nn.utils import value_and_grad
from mlx.utils import tree_flatten, tree_unflatten

from ..engine import Cancelled
from ..mlx_engine.models.assembly import weight_bytes
from .adapting import trained_arrays
from .checkpoints import RunState
from .data.batches import Batch, Batches, in_order
from .data.rows import Row
from .events import Worker
from .failures import LESS, LESS_TRAINED, explained, not_finite, out_of_memory
from .formats import AdapterFiles
from .gradient_checkpointing import Seeds
from .loss import batch_loss, mean_loss
from .optimizers import learning_rate, make_optimizer, restore_state, state_bytes, state_of
from .saving import Checkpoint, Output, damaged
from .spec import TrainOptions

_WEIGHT = "weight:"
_STATE = "state:"
MakeFiles = Callable[[dict[str, mx.array]], AdapterFiles]


class Trainer:
    """One training: the model with its weights, the optimizer, and the figures so far.

    ``shared`` are the options that a resumed run must share, with their values. The trained weights are
    kept in float32, and saved in the dtype that the options name. The model computes with copies of them
    in that dtype if it computes in no wider one anyway: elsewhere they would be widened in each step.
    """

    def __init__(
        self,
        model: Any,
        options: TrainOptions,
        batches: Batches,
        validation: list[Row],
        *,
        steps: int,
        longest: int,
        output: Output,
        files: MakeFiles,
        shared: dict[str, Any],
        seeds: Seeds,
        worker: Worker,
    ) -> None:
        self._model = model
        self._options = options
        self._batches = batches
        self._validation = validation
        self._steps = steps
        self._longest = longest
        self._output = output
        self._files = files
        self._shared = shared
        self._seeds = seeds
        self._worker = worker
        self._optimizer = make_optimizer(options)
        self._gradients = value_and_grad(model, self._loss)
        self._dtype = mx.bfloat16 if options.dtype == "bfloat16" else mx.float32
        computing = model(mx.array([[0]])).dtype  # lazy: the dtype alone is worked out
        self._computing = mx.float32 if computing == mx.float32 else self._dtype
        self._weights = {
            name: array.astype(mx.float32) for name, array in trained_arrays(model).items()
        }
        self._set_weights(self._weights)
        self._step = 0
        self._checkpoint: str | None = None
        self._first_loss: float | None = None
        self._last_loss: float | None = None
        self._validation_loss: float | None = None
        self._validated_at: int | None = None
        self._tokens = 0
        self._seconds = 0.0

    def _loss(self, ids: mx.array, spans: mx.array, targets: mx.array) -> mx.array:
        return batch_loss(self._model, ids, spans, targets)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint whose options have been compared. Raises: WireError."""
        arrays, state = checkpoint.arrays, checkpoint.state
        own = {k.removeprefix(_STATE): a for k, a in arrays.items() if k.startswith(_STATE)}
        for name, array in self._weights.items():
            saved = arrays.get(f"{_WEIGHT}{name}")
            if saved is None or saved.shape != array.shape:
                raise damaged(checkpoint.path, f"it lacks {name}, or has it in another shape")
        restore_state(self._optimizer, own)
        self._set_weights({name: arrays[f"{_WEIGHT}{name}"] for name in self._weights})
        self._step = state.step
        self._checkpoint = str(checkpoint.path)
        self._first_loss, self._last_loss = state.first_loss, state.last_loss
        self._validation_loss = state.validation_loss
        self._validated_at = state.step if self._validation_loss is not None else None
        self._tokens, self._seconds = state.tokens, state.seconds

    def check_room(self) -> None:
        """Refuse a run that can't fit, whatever its rows. Raises: WireError ``out_of_memory``."""
        limit, left = self._options.memory_limit, self._steps - self._step
        if not limit or not left:
            return
        trained = sum(array.nbytes for array in self._weights.values())
        copies = 0 if self._computing == mx.float32 else trained
        later = self._step or left > 1  # the first step has its gradients before the state
        state = state_bytes(self._options, self._weights) if later else 0
        needed = weight_bytes(self._model) + copies + trained + state
        if needed > limit:
            raise out_of_memory(
                f"weights, gradients and the optimizer's state take {needed} bytes before any row, "
                f"but `memory_limit` is {limit}",
                {"memory_limit": limit, "needed": needed, "checkpoint": self._checkpoint},
                f"raise it, or {LESS_TRAINED}",
            )

    def run(self) -> dict[str, Any]:
        """Train to the end, and return the figures of the run.

        Raises: WireError, with ``data.step`` and ``data.checkpoint``; Cancelled.
        """
        self._model.train()
        try:
            if self._step == 0:
                self._validate()
            while self._step < self._steps:
                self._worker.check()
                self._advance()
            if self._options.evaluate_every and self._validation_loss is None:
                self._validate()
            self._output.save_adapter(self._files(self._in_dtype()))
        except Cancelled:
            raise
        except Exception as error:  # MLX and the models raise whatever they meet
            doing = f"the training after step {self._step}"
            data = {"step": self._step, "checkpoint": self._checkpoint}
            raise explained(error, doing, data) from error
        return {
            "adapter": str(self._output.path),
            "first_loss": self._first_loss,
            "last_loss": self._last_loss,
            "validation_loss": self._validation_loss,
            "steps": self._step,
            "tokens": self._tokens,
            "seconds": self._seconds,
            "peak_memory_bytes": mx.get_peak_memory(),
        }

    def save_where_it_stands(self) -> tuple[str | None, int]:
        """Save a checkpoint of the last whole step, and return the newest one's folder and the step.

        Raises: WireError.
        """
        saved = self._checkpoint is not None and self._checkpoint.endswith(f"/{self._step}")
        if self._step and not saved:
            try:
                self._save()
            except Exception as error:
                data = {"step": self._step, "checkpoint": self._checkpoint}
                raise explained(error, "saving a checkpoint", data) from error
        return self._checkpoint, self._step

    def _advance(self) -> None:
        """Take one step: compute, change the weights, and validate and save where it is due."""
        started = time.perf_counter()
        rate = learning_rate(self._options, self._step, self._steps)
        batches = self._batches.of_step(self._step)
        loss, gradients = self._compute(batches)
        self._optimizer.learning_rate = rate
        weights = self._optimizer.apply_gradients(gradients, self._weights)
        self._set_weights(weights)
        mx.eval(self._weights, self._model.trainable_parameters(), self._optimizer.state)
        self._step += 1
        self._first_loss = loss if self._first_loss is None else self._first_loss
        self._last_loss = loss
        tokens = sum(batch.targets for batch in batches)
        self._tokens += tokens
        elapsed = time.perf_counter() - started
        self._seconds += elapsed
        self._check_memory()
        if self._is_due(self._options.evaluate_every):
            self._validate()
        self._tell(rate, tokens / elapsed)
        if self._is_due(self._options.save_every) or self._step == self._steps:
            self._save()

    def _is_due(self, every: int) -> bool:
        return every > 0 and (self._step % every == 0 or self._step == self._steps)

    def _compute(self, batches: list[Batch]) -> tuple[float, dict[str, mx.array]]:
        """Return the mean loss over the batches of a step, and its gradients in float32.

        Each token counts the same, in whichever batch it is. Raises: Cancelled; WireError.
        """
        targets = mx.array(float(sum(batch.targets for batch in batches)))
        summed = mx.array(0.0)
        gradients: dict[str, mx.array] = {}
        for number, batch in enumerate(batches):
            self._worker.check()
            self._seeds.begin(self._options.seed, self._step * len(batches) + number)
            loss, tree = self._gradients(mx.array(batch.ids), mx.array(batch.spans), targets)
            flat: dict[str, mx.array] = dict(tree_flatten(tree))
            summed = summed + loss
            gradients = {
                name: array.astype(mx.float32) + gradients.get(name, 0.0)
                for name, array in flat.items()
            }
            mx.eval(summed, gradients)
        squares = [array.square().sum() for array in gradients.values()]
        norm, value = float(mx.sqrt(mx.stack(squares).sum())), float(summed)
        if not math.isfinite(value):
            raise not_finite("the loss", self._step + 1, self._checkpoint)
        if not math.isfinite(norm):
            raise not_finite("the gradient", self._step + 1, self._checkpoint)
        limit = self._options.gradient_clip
        if limit is not None and norm > limit:
            share = limit / norm
            gradients = {name: array * share for name, array in gradients.items()}
        return value, gradients

    def _set_weights(self, weights: dict[str, mx.array]) -> None:
        self._weights = weights
        copies = {name: array.astype(self._computing) for name, array in weights.items()}
        self._model.update(tree_unflatten(list(copies.items())))

    def _in_dtype(self) -> dict[str, mx.array]:
        return {name: array.astype(self._dtype) for name, array in self._weights.items()}

    def _validate(self) -> None:
        """Compute the loss of the validation's rows, if there are any and it is asked for."""
        if not self._validation or not self._options.evaluate_every:
            return
        batches = in_order(
            self._validation, self._options.batch_size, self._longest, learns_end=True
        )
        report = partial(self._worker.report, "evaluate", total=len(self._validation))
        self._validation_loss = mean_loss(self._model, batches, report)
        self._validated_at = self._step

    def _check_memory(self) -> None:
        """Stop a run that took more memory than it may. Raises: WireError ``out_of_memory``."""
        limit, peak = self._options.memory_limit, mx.get_peak_memory()
        if limit and peak > limit:
            raise out_of_memory(
                f"a step took {peak} bytes of memory, but `memory_limit` is {limit}",
                {"memory_limit": limit, "needed": peak},
                f"raise it, or {LESS}",
            )

    def _tell(self, rate: float, speed: float) -> None:
        """Report a step; a loss of the validation that was computed before step 1 stands beside it."""
        left = self._steps - self._step
        new = self._validated_at == self._step or (self._step == 1 and self._validated_at == 0)
        self._worker.progress(
            "train",
            self._step,
            self._steps,
            step=self._step,
            loss=self._last_loss,
            validation_loss=self._validation_loss if new else None,
            learning_rate=rate,
            tokens=self._tokens,
            seconds=self._seconds,
            tokens_per_second=speed,
            peak_memory_bytes=mx.get_peak_memory(),
            seconds_left=self._seconds / self._step * left,
        )

    def _save(self) -> None:
        """Write a checkpoint, if its weights are sound. Raises: WireError; OSError."""
        sound = mx.stack([mx.isfinite(array).all() for array in self._weights.values()]).all()
        if not sound.item():
            raise not_finite("a weight", self._step, self._checkpoint)
        arrays = {f"{_WEIGHT}{name}": array for name, array in self._weights.items()}
        arrays |= {f"{_STATE}{k}": array for k, array in state_of(self._optimizer).items()}
        state = RunState(
            step=self._step,
            options=self._shared,
            first_loss=self._first_loss,
            last_loss=self._last_loss,
            validation_loss=self._validation_loss,
            tokens=self._tokens,
            seconds=self._seconds,
        )
        files = self._files(self._in_dtype())
        self._checkpoint = str(self._output.save_checkpoint(state, arrays, files))
