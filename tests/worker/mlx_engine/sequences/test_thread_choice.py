"""The threads of the BLAS are chosen for every architecture."""

from __future__ import annotations

from mlx_lm.models import gpt2

from mlxwire_worker.mlx_engine.sequences.thread_choice import _largest_matrix


def test_the_largest_matrix_of_the_layers_is_found_whatever_they_are_called() -> None:
    sizes = gpt2.ModelArgs("gpt2", 32, 16, 2, 2, 32, 1e-5, 500)

    largest = _largest_matrix(gpt2.Model(sizes))

    assert largest is not None
    assert largest.size == 4 * 16 * 16
