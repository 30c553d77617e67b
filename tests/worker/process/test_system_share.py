"""What the system lets a process use: the least of the machine, the affinity and the groups."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mlxwire_worker.process import system_share
from mlxwire_worker.process.system_share import memory_bytes, processors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that the machine has 16 processors and 8,000 bytes."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(system_share, "_available", lambda: 8000)
    return tmp_path


def place(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Pretend that the process is in these groups."""
    read = Path.read_text

    def pretended(path: Path, *options: str) -> str:
        return text if str(path) == "/proc/self/cgroup" else read(path, *options)

    monkeypatch.setattr(Path, "read_text", pretended)


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (
            folder
            / name.replace("memory_limit", "memory.limit")
            .replace("cpu_", "cpu.")
            .replace("memory_max", "memory.max")
        ).write_text(text)


def test_without_groups_it_is_the_machine(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(monkeypatch, "0::/\n")

    assert (processors(groups), memory_bytes(groups)) == (16, 8000)


def test_the_limits_of_version_2_hold_those_above_too(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(monkeypatch, "0::/above/own\n")
    write(groups / "above/own", cpu_max="max 100000\n", memory_max="7000\n")
    write(groups / "above", cpu_max="250000 100000\n", memory_max="5000\n")
    write(groups, memory_max="max\n")

    assert (processors(groups), memory_bytes(groups)) == (2, 5000)


def test_the_limits_of_version_1_hold(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, "4:memory:/own\n3:cpu,cpuacct:/own\n0::/\n")
    write(groups / "memory/own", memory_limit_in_bytes="6000\n")
    write(groups / "cpu/own", cpu_cfs_quota_us="300000\n", cpu_cfs_period_us="100000\n")

    assert (processors(groups), memory_bytes(groups)) == (3, 6000)


def test_no_limit_is_none(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, "4:memory:/own\n3:cpu:/own\n")
    write(groups / "memory/own", memory_limit_in_bytes="9223372036854771712\n")
    write(groups / "cpu/own", cpu_cfs_quota_us="-1\n", cpu_cfs_period_us="100000\n")

    assert (processors(groups), memory_bytes(groups)) == (16, 8000)


def test_a_part_of_a_processor_is_one(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(monkeypatch, "0::/\n")
    write(groups, cpu_max="20000 100000\n")

    assert processors(groups) == 1


def test_the_real_numbers_are_plausible() -> None:
    available = memory_bytes()

    assert 1 <= processors() <= (os.cpu_count() or 1)
    assert available is not None
    assert available > 1 << 20
