"""Penalties on whole rows of logits, where greedy text would not show the negative ones."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxwire_worker.mlx_engine.sequences.penalties import Penalties
from mlxwire_worker.mlx_engine.sequences.rows import Row
from mlxwire_worker.prompts import Prompt, SamplingParams

VOCABULARY = 50


def row(generated: list[int], **options: Any) -> Row:
    made = Row.of(
        Prompt(
            ids=[1, 2, 3],
            max_tokens=100,
            stop_ids=frozenset(),
            detokenizer=None,  # type: ignore[arg-type]
            params=SamplingParams(**options),
        )
    )
    made.generated = generated
    return made


def shaped(rows: list[Row], logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    penalties = Penalties(rows)
    assert penalties is not None
    drawn = [len(one.generated) for one in rows]
    return np.array(penalties.apply(mx.array(logits), drawn))


@pytest.mark.parametrize("penalty", [0.5, 1.7, 1000.0])
def test_seen_tokens_lose_by_division_above_zero_and_by_multiplication_below(
    penalty: float,
) -> None:
    generated = [4, 7, 7, 20, 49]
    logits = np.random.default_rng(1).normal(size=(1, VOCABULARY)).astype(np.float32)
    logits[0, [4, 7]] = [-2.5, 3.5]
    expected = logits.copy()
    for token in set(generated):
        value = expected[0, token]
        expected[0, token] = value / penalty if value > 0 else value * penalty

    np.testing.assert_allclose(
        shaped([row(generated, repeat_penalty=penalty)], logits), expected, rtol=1e-6
    )


def test_rows_of_a_batch_are_penalised_each_by_its_own() -> None:
    logits = np.random.default_rng(2).normal(size=(3, VOCABULARY)).astype(np.float32)
    rows = [row([1, 2]), row([3, 4], repeat_penalty=2.0), row([], repeat_penalty=3.0)]

    together = shaped(rows, logits)

    np.testing.assert_array_equal(together[0], logits[0])
    np.testing.assert_array_equal(together[1], shaped([rows[1]], logits[1:2])[0])
    np.testing.assert_array_equal(together[2], logits[2])
