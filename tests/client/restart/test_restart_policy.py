"""The restart policy alone, without clock and dice: how often and how soon."""

from __future__ import annotations

import pytest

from mlxwire.restart.crashes import CrashHistory
from mlxwire.restart.policy import RestartPolicy

MIDDLE = 0.5
"""The chance that changes nothing."""


def test_the_pause_doubles_up_to_its_limit():
    policy = RestartPolicy(max_restarts=9, window=1000, backoff_min=1, backoff_max=10)
    history = CrashHistory(policy)
    pauses = [history.crashed(now, MIDDLE) for now in range(6)]
    assert pauses == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(("chance", "pause"), [(0, 3), (0.5, 4), (1, 5)])
def test_jitter_moves_the_pause_both_ways(chance, pause):
    policy = RestartPolicy(backoff_min=4, jitter=0.25)
    assert CrashHistory(policy).crashed(0, chance) == pause


def test_one_crash_too_many_within_the_window_is_the_end():
    history = CrashHistory(RestartPolicy(max_restarts=2, window=60))
    assert history.crashed(0, MIDDLE) is not None
    assert history.crashed(30, MIDDLE) is not None
    assert history.crashed(59, MIDDLE) is None


def test_the_window_slides():
    history = CrashHistory(RestartPolicy(max_restarts=2, window=60, backoff_min=1))
    pauses = [history.crashed(now, MIDDLE) for now in (0, 30, 60, 91, 120)]
    assert None not in pauses
    assert pauses == [1, 2, 2, 2, 2]


def test_no_restart_at_all_may_be_asked_for():
    assert CrashHistory(RestartPolicy(max_restarts=0)).crashed(0, MIDDLE) is None


def test_a_policy_with_endless_restarts_does_not_overflow():
    history = CrashHistory(RestartPolicy(max_restarts=5000, window=1e9, backoff_max=30))
    assert [history.crashed(now, MIDDLE) for now in range(4000)][-1] == 30


def test_forgetting_begins_anew():
    history = CrashHistory(RestartPolicy(max_restarts=1, window=60))
    history.crashed(0, MIDDLE)
    history.forget()
    assert history.crashed(1, MIDDLE) is not None
