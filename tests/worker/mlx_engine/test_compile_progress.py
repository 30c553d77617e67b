"""A load tells of the kernels that MLX compiles, and of none that it has."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

import pytest

from mlxwire_worker.engine import Cancelled
from mlxwire_worker.mlx_engine import compile_progress
from mlxwire_worker.mlx_engine.compile_progress import CompileProgress
from support.driver import Driver
from support.tiny_model import TINY

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="needs Linux and g++"
)
Reports = list[tuple[str, float, float]]


def stages(cache: Path) -> dict[str, list[tuple[float, float]]]:
    """Load the tiny model with a folder for kernels; return the reports of each stage."""
    told: dict[str, list[tuple[float, float]]] = {}
    with Driver(environment={"XDG_CACHE_HOME": str(cache)}) as worker:
        worker.hello()
        request = worker.send("load", path=str(TINY))
        assert worker.final(request)["type"] == "result"
        for each in worker.messages[request]:
            if each["type"] == "progress":
                told.setdefault(each["stage"], []).append((each["done"], each["total"]))
    return told


def test_a_first_load_counts_the_kernels_and_a_second_has_none_to_count(tmp_path: Path) -> None:
    first, second = stages(tmp_path), stages(tmp_path)

    *still, last = first["compile"]
    assert last[0] == last[1] == len(list(tmp_path.rglob("lib*.so")))
    assert all(total == done + 1 for done, total in still)
    assert "compile" not in second
    assert second["warmup"][-1] == first["warmup"][-1]


class Kernels:
    """Kernels on disk, and the reports of a load; `wait` returns when ``number`` of a stage came."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: set[str] = {"old"}
        self.reports: Reports = []
        monkeypatch.setattr(compile_progress, "compiled_kernels", lambda: set(self.files))
        monkeypatch.setattr(compile_progress, "LOOK_SECONDS", 0.001)
        monkeypatch.setattr(compile_progress, "TELL_SECONDS", 0.001)

    def report(self, stage: str, done: float, total: float) -> None:
        self.reports.append((stage, done, total))

    def wait(self, number: int, stage: str) -> Reports:
        while len(told := [each for each in self.reports if each[0] == stage]) < number:
            pass
        return told


def test_a_kernel_that_takes_long_is_told_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels = Kernels(monkeypatch)
    monkeypatch.setattr(compile_progress, "has_compiled_for_cuda", lambda: True)

    with CompileProgress(kernels.report) as report:
        report("warmup", 0, 12)
        assert set(kernels.wait(3, "compile")) == {("compile", 0, 1)}
        kernels.files |= {"one", "two"}
        while ("compile", 2, 3) not in kernels.reports:
            pass

    assert kernels.reports[-1] == ("compile", 2, 2)


def test_weights_that_are_read_slowly_are_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = Kernels(monkeypatch)
    monkeypatch.setattr(compile_progress, "has_compiled_for_cuda", lambda: True)
    looks = threading.Semaphore(0)

    def look() -> set[str]:
        looks.release()
        return set()

    monkeypatch.setattr(compile_progress, "compiled_kernels", look)
    with CompileProgress(kernels.report) as report:
        report("load", 1, 2)
        for _ in range(50):
            looks.acquire()
        told = list(kernels.reports)

    assert [each for each in told if each[0] == "load"] == [("load", 1, 2)]
    assert told[told.index(("load", 1, 2)) :] == [("load", 1, 2)]


def test_a_load_that_fails_or_is_cancelled_tells_no_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels = Kernels(monkeypatch)
    cancelled: Reports = []

    def report(stage: str, done: float, total: float) -> None:
        cancelled.append((stage, done, total))
        raise Cancelled

    def load() -> None:
        with CompileProgress(report) as progress:
            kernels.files.add("one")
            while not cancelled:
                pass
            progress("warmup", 0, 1)

    with pytest.raises(Cancelled):
        load()

    assert cancelled == [("compile", 1, 2), ("warmup", 0, 1)]
