"""The checks of `mlxwire doctor`: packages, device, a worker's start and its round trip."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import MlxwireError
from ..process.find_worker import find_worker, worker_python
from ..version import __version__
from ..worker import Worker
from .arguments import Engine
from .device_probe import Probe, probe_device
from .exits import StartFailed, in_words
from .launch import start_worker
from .memory_check import MemoryCheck, Wishes, check_memory

ROUND_TRIPS = 20


@dataclass(slots=True, kw_only=True)
class WorkerHealth:
    """The start and the answers of a worker, in seconds; None for what was not measured."""

    command: list[str] = field(default_factory=list)
    name: str | None = None
    version: str | None = None
    engine: str | None = None
    protocol: int | None = None
    start_seconds: float | None = None
    round_trip_seconds: float | None = None


@dataclass(slots=True, kw_only=True)
class Health:
    """All findings. ``problems``: a line for each reason why no model would run, or not the one asked for.

    ``runs`` is False if none would. ``memory`` is what the model needs that was asked for.
    """

    probe: Probe
    worker: WorkerHealth
    problems: list[str]
    runs: bool
    memory: MemoryCheck | None = None

    def as_object(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "mlxwire": __version__,
            "platform": platform.platform(),
            **asdict(self.probe),
            "worker": asdict(self.worker),
            **({"model": self.memory.as_object()} if self.memory else {}),
        }

    def as_rows(self) -> dict[str, object]:
        """Return rows of a table."""
        probe, worker = self.probe, self.worker
        packages = {name: found or "not installed" for name, found in probe.packages.items()}
        answers = worker.start_seconds is not None
        described = (
            f"{worker.name} {worker.version}, {worker.engine}, protocol {worker.protocol}"
        )
        return {
            "mlxwire": __version__,
            "platform": platform.platform(),
            "python": f"{probe.python or 'unknown'} ({probe.interpreter})",
            **packages,
            "device": " ".join(filter(None, (probe.device, probe.device_name))) or "none",
            "BLAS": _described_blas(probe),
            "kernels": _described_kernels(probe),
            "worker": described if answers else "does not start",
            "command": " ".join(worker.command) or "unknown",
            "start to hello": _milliseconds(worker.start_seconds),
            "round trip": _milliseconds(worker.round_trip_seconds)
            + (f" (median of {ROUND_TRIPS})" if worker.round_trip_seconds is not None else ""),
            **(self.memory.as_rows() if self.memory else {}),
        }


async def examine(
    engine: Engine | None, path: str | None, wishes: Wishes, *, allow_hub: bool = False
) -> Health:
    """Start a worker, ask which device MLX sees, and time requests; raise nothing.

    With a ``path``, the memory of the model there is predicted too.
    """
    problems: list[str] = []
    health = WorkerHealth()
    worker: Worker | None = None
    memory: MemoryCheck | None = None
    of_model: list[str] = []
    with _noting(problems):
        health.command = find_worker()
        began = time.perf_counter()
        worker = await start_worker(engine, allow_hub=allow_hub)
        health.start_seconds = time.perf_counter() - began
    try:
        # The worker imports MLX after its hello; round trips timed now would wait for that.
        probe = await probe_device(worker_python(health.command))
        with _noting(problems):
            if worker is not None:
                await _time_requests(worker, health)
        with _noting(of_model):
            if worker is not None and path is not None:
                memory = await check_memory(worker, path, wishes)
                of_model += memory.problems
    finally:
        if worker is not None:
            await worker.close()
    if probe.error and health.engine != "mock":
        problems.append(probe.error)
    return Health(
        probe=probe,
        worker=health,
        problems=problems + of_model,
        runs=not problems,
        memory=memory,
    )


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except StartFailed as failed:
        problems.append(in_words(failed.error))
    except MlxwireError as error:
        problems.append(in_words(error))


async def _time_requests(worker: Worker, health: WorkerHealth) -> None:
    identity = worker.hello.worker
    health.name, health.version = identity.name, identity.version
    health.engine, health.protocol = identity.engine, worker.hello.protocol
    seconds: list[float] = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        await worker.metrics()
        seconds.append(time.perf_counter() - began)
    health.round_trip_seconds = statistics.median(seconds)


def _described_blas(probe: Probe) -> str:
    """Return the name and the speed of the BLAS, and what to do about a slow one."""
    if probe.blas_gflops is None:
        return "not used" if probe.device else "unknown"
    name = probe.blas or "MLX's own"
    told = f"{name}, {probe.blas_gflops:.0f} GFLOP/s"
    return f"{told}, which is slow: {probe.blas_slow}" if probe.blas_slow else told


def _described_kernels(probe: Probe) -> str:
    """Return the folder of the compiled kernels, and why a better one can't be used."""
    if probe.kernels_slow is not None:
        return f"none, which is slower: {probe.kernels_slow}"
    if probe.kernels is None:
        return "not kept"
    refused = "; ".join(probe.folders_refused)
    return f"{probe.kernels} (not used: {refused})" if refused else probe.kernels


def _milliseconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1000:.2f} ms"
