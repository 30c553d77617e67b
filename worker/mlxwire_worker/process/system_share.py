"""Tells how many processors and how much memory the system lets this process use.

Reads the affinity of the process, the limits of its control groups (versions 1 and 2), and what is
available on the machine. Outside Linux only the numbers of the machine are known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MODEL_SHARE = 0.8
"""The share of the process's memory that a model and its caches may take."""
_NO_LIMIT = 1 << 60
"""Version 1 writes a number near 2^63 where there is no limit."""


def processors(cgroups: Path = CGROUPS) -> int:
    """Return how many processors this process may keep busy, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    for folder in _folders("cpu", cgroups):
        quota = _quota(folder)
        if quota is not None:
            count = min(count, int(quota))
    return max(count, 1)


def memory_bytes(cgroups: Path = CGROUPS) -> int | None:
    """Return the smaller of available memory and the control groups' limits; None if unknown."""
    sizes = [_available()]
    for folder in _folders("memory", cgroups):
        sizes += [_number(folder / "memory.max"), _number(folder / "memory.limit_in_bytes")]
    known = [size for size in sizes if size is not None and size < _NO_LIMIT]
    return min(known, default=None)


def within_share(model_bytes: int, *limits: int | None) -> bool:
    """Return True if a model takes at most `MODEL_SHARE` of each limit; None is no limit."""
    return all(limit is None or model_bytes <= MODEL_SHARE * limit for limit in limits)


def _folders(controller: str, cgroups: Path) -> Iterator[Path]:
    """Yield the folders of the control group of this process and of the groups above it.

    In a container the path may be that of the host, which does not exist here: then only the
    folder at the top is there, which is the container's own.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            top = cgroups
        elif controller in controllers.split(","):
            top = cgroups / controller
        else:
            continue
        own = top / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def _quota(folder: Path) -> float | None:
    """Return a group's share of processor time, in processors; None without a limit."""
    try:
        quota, period = (folder / "cpu.max").read_text("ascii").split()[:2]
    except (OSError, ValueError):
        quota = str(_number(folder / "cpu.cfs_quota_us") or "max")
        period = str(_number(folder / "cpu.cfs_period_us") or 0)
    if not (quota.isdigit() and period.isdigit() and int(period)):
        return None
    return int(quota) / int(period)


def _number(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(file.read_text("ascii"))
    return None


def _available() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None
