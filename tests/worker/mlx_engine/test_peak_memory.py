"""`peak_memory_bytes` is of the request; `memory` and `metrics` tell the model's whole life."""

from __future__ import annotations

from support.model_worker import ModelWorker


def test_a_small_request_does_not_report_the_peak_of_a_large_one(loaded: ModelWorker) -> None:
    loaded.ask("cache", action="clear")
    large = loaded.ask("generate", prompt="one two three " * 60, max_tokens=1, cache=False)
    small = loaded.ask("generate", prompt="one", max_tokens=1, cache=False)
    peaks = [final["metrics"]["peak_memory_bytes"] for final in (large, small)]

    assert peaks[0] > peaks[1] >= small["metrics"]["active_memory_bytes"] // 2
    assert loaded.ask("memory")["peak_bytes"] >= peaks[0]
    assert loaded.ask("metrics")["peak_memory_bytes"] >= peaks[0]
