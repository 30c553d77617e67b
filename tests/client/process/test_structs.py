"""A struct of options is refused before anything is started with it; a crash finds no wrong value."""

from __future__ import annotations

from typing import Any

import pytest

import mlxwire
from mlxwire import InvalidParams, LivenessLimits, RestartPolicy, ShutdownLimits

ENDLESS = float("inf")
HUGE = 10**400  # beyond a float's range


@pytest.mark.parametrize(
    ("struct", "field", "value"),
    [
        *((RestartPolicy, field, None) for field in RestartPolicy.__slots__),
        *((ShutdownLimits, field, None) for field in ShutdownLimits.__slots__),
        *((LivenessLimits, field, None) for field in LivenessLimits.__slots__),
        (RestartPolicy, "backoff_min", ENDLESS),
        (RestartPolicy, "backoff_max", ENDLESS),
        (RestartPolicy, "jitter", HUGE),
        (LivenessLimits, "phases", 5),
        (LivenessLimits, "phases", "decode"),
    ],
)
def test_a_value_that_no_crash_could_use_is_refused_by_name(
    struct: Any, field: str, value: object
) -> None:
    with pytest.raises(InvalidParams, match=field) as refused:
        struct(**{field: value})

    assert refused.value.data["field"] == field


@pytest.mark.parametrize("option", ["restart", "liveness", "shutdown", "env"])
@pytest.mark.parametrize("value", [5, "never", [1]])
def test_an_option_that_is_no_struct_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(InvalidParams, match=option) as refused:
        mlxwire.Worker(**{option: value})

    assert refused.value.data["field"] == option
