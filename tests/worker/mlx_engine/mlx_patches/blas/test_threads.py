"""The number of threads is the one that makes every measure clearly shorter."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlxwire_worker.mlx_engine.mlx_patches.blas import threads
from mlxwire_worker.mlx_engine.mlx_patches.blas.threads import ThreadControl, most_threads


class Library:
    """A library that knows its number of threads."""

    def __init__(self) -> None:
        self.count = 0

    def openblas_set_num_threads(self, count: object) -> None:
        self.count = count.value  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "processors", lambda: 8)
    for name in threads._LIMITS:
        monkeypatch.delenv(name, raising=False)


def chosen(*times: dict[int, float]) -> tuple[int, list[int]]:
    """Return the number chosen for measures that take these seconds, and the numbers tried."""
    library, tried = Library(), list[int]()
    control = ThreadControl(library, "")  # type: ignore[arg-type]

    def measure(seconds: dict[int, float]) -> Callable[[], float]:
        def measured() -> float:
            tried.append(library.count)
            return seconds[library.count]

        return measured

    control.choose([measure(each) for each in times])
    assert control.count == library.count
    return control.count, sorted(set(tried))


def test_the_fastest_is_chosen() -> None:
    assert chosen({1: 8, 2: 4, 4: 2, 8: 1})[0] == 8
    assert chosen({1: 8, 2: 4, 4: 5, 8: 1}) == (2, [1, 2, 4])


def test_a_small_gain_is_not_worth_a_processor() -> None:
    assert chosen({1: 8, 2: 7.5}) == (1, [1, 2])


def test_every_measure_must_gain() -> None:
    assert chosen({1: 8, 2: 4, 4: 2, 8: 1}, {1: 1, 2: 3}) == (1, [1, 2])


def test_a_measure_is_not_taken_where_a_cheaper_one_gained_nothing() -> None:
    assert chosen({1: 1, 2: 100}, {1: 1}) == (1, [1, 2])


def test_a_library_that_can_not_be_told_is_left_alone() -> None:
    control = ThreadControl(object(), "")  # type: ignore[arg-type]

    control.choose([lambda: pytest.fail("it was measured")])

    assert (control.can_set, control.count) == (False, 0)


def test_a_users_own_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_threads() == 8
    for unreadable in ("4,2", "\u00b2", "0", "-1"):
        monkeypatch.setenv("OMP_NUM_THREADS", unreadable)
        assert most_threads() == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert most_threads() == 3
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert most_threads() == 2
    assert chosen({1: 8, 2: 4, 3: 1}) == (2, [1, 2])
