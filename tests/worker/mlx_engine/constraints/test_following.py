"""A constraint takes the tokens that it has not seen, also when a step is repeated."""

from __future__ import annotations

import pytest

from mlxwire_worker.mlx_engine.constraints.following import unseen


@pytest.mark.parametrize(
    ("taken", "generated", "newest", "fresh"),
    [
        ([], [], None, []),
        ([], [], 7, [7]),
        ([], [5, 6], 7, [5, 6, 7]),
        ([5], [5, 6], 7, [6, 7]),
        ([5, 6], [5, 6], 7, [7]),
        ([5, 6, 7], [5, 6], 7, []),
        ([5, 6, 7], [5, 6, 7], None, []),
        ([5, 6, 7], [5, 6], 8, None),
        ([5, 6, 7], [5, 6, 8], 9, None),
        ([5, 6, 7], [5, 6], None, None),
        ([5, 6, 7], [5], 6, None),
    ],
)
def test_the_tokens_behind_those_that_were_taken(
    taken: list[int], generated: list[int], newest: int | None, fresh: list[int] | None
) -> None:
    assert unseen(taken, generated, newest) == fresh
