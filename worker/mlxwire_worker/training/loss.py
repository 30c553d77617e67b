"""The loss: the mean negative log-likelihood of the tokens to learn, in nats, in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx
from mlx.nn.losses import cross_entropy

from .data.batches import Batch


def batch_loss(model: Any, ids: mx.array, spans: mx.array, targets: mx.array) -> mx.array:
    """Return the sum of a batch's losses divided by ``targets``: a share of a mean over batches.

    ``ids`` [rows, width] and ``spans`` [rows, 2] are those of a `Batch`.
    """
    logits = model(ids[:, :-1]).astype(mx.float32)
    places = mx.arange(1, ids.shape[1])
    learned = mx.logical_and(places >= spans[:, :1], places <= spans[:, 1:])
    losses = cross_entropy(logits, ids[:, 1:])
    return mx.where(learned, losses, 0.0).sum() / targets


def mean_loss(model: Any, batches: Iterable[Batch], report: Callable[[int], None]) -> float:
    """Return the mean loss over all tokens to learn, computed without dropout.

    ``report`` is called with the number of rows that are done, and may raise to end the work.
    """
    model.eval()
    try:
        summed, tokens, rows = 0.0, 0, 0
        for batch in batches:
            loss = batch_loss(
                model, mx.array(batch.ids), mx.array(batch.spans), mx.array(1.0, mx.float32)
            )
            summed += float(loss)
            tokens += batch.targets
            rows += len(batch.ids)
            report(rows)
        return summed / tokens
    finally:
        model.train()
