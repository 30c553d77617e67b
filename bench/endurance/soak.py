"""Long runs of requests, cancels, kills and restarts; checks that memory and processes stay
bounded.

    python -m bench.endurance.soak [PART[=COUNT] …] [--requests N] [--seconds S]

Parts: `mock` and `tiny` (requests with random cancels, through the Python client and through
`storm`), `host-kills`, `worker-kills`, `restarts`. Without a part all run; `--requests` and
`--seconds` are the most that each may do and take. Linux, for descriptors and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlxwire
from bench.endurance.storm import Storm, growth

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.processes import children_of, has_ended, resident_bytes  # noqa: E402

HOST = str(ROOT / "tests" / "death" / "host.py")
TINY = str(ROOT / "testdata" / "tiny")
IN_FLIGHT = 64
SAMPLES = 100
LATE_SECONDS = 2.0
"""A final, or the end of an orphan, that takes longer is counted as missing."""
AT_ONCE = mlxwire.RestartPolicy(max_restarts=10**9, backoff_min=0)


@dataclass
class Tally:
    """One part's row of the table."""

    count: int = 0
    finals: int = 0
    late: int = 0
    missing: int = 0
    orphans: int = 0
    worst_seconds: float = 0.0
    samples: list[tuple[int, int, int]] = field(default_factory=list)
    """Bytes of memory, descriptors, threads; of host and worker together."""

    def sample(self, *pids: int) -> None:
        """Record this process's descriptors, threads and memory; add the memory of ``pids``."""
        memory = sum(resident_bytes(pid) for pid in (os.getpid(), *pids))
        descriptors = len(os.listdir("/dev/fd"))
        self.samples.append((memory, descriptors, threading.active_count()))

    def took(self, began: float) -> None:
        """Record the duration of an operation that began at ``began``."""
        self.worst_seconds = max(self.worst_seconds, time.monotonic() - began)

    def row(self) -> list[str]:
        grown = [growth([*values]) for values in zip(*self.samples, strict=True)] or [0, 0, 0]
        return [
            *(f"{n:,}" for n in (self.count, self.finals, self.late, self.missing)),
            *(f"{self.orphans:,}", f"{self.worst_seconds:.2f}"),
            *(f"{grown[1]:+.0f}", f"{grown[2]:+.0f}", f"{grown[0] / 1e6:+.1f}"),
        ]


HEAD = ["part", "done", "finals", "late", "missing", "orphans"]
HEAD += ["worst s", "descriptors", "threads", "MB", "seconds"]

WIDTHS = [max(len(name) + 2, 10) for name in HEAD]
WIDTHS[0] = 12


class Budget:
    """Counts a part's rounds until they, or its time, are used up."""

    def __init__(self, count: int, seconds: float) -> None:
        self.count = count
        self._left = count
        self._end = time.monotonic() + seconds

    def take(self) -> bool:
        """Return True if another round may start."""
        self._left -= 1
        return self._left >= 0 and time.monotonic() < self._end

    def is_sample_due(self) -> bool:
        """Return True at evenly spread rounds; skip the first tenth, when memory grows."""
        done = self.count - self._left
        return done > self.count // 10 and done % max(self.count // SAMPLES, 1) == 0


# -- requests ----------------------------------------------------------------------------


async def mock(budget: Budget, dice: random.Random) -> Tally:
    """Send requests of all kinds through the client, and leave a third of them early."""
    tally = Tally()
    args = ["--engine", "mock"]
    async with mlxwire.Worker(args=args, drain_timeout=LATE_SECONDS) as worker:
        model = await worker.load("m", parallel_slots=IN_FLIGHT)

        async def ask_and_ask() -> None:
            while budget.take():
                tally.count += 1
                await ask(model, tally, dice)
                if budget.is_sample_due() and worker.pid:
                    tally.sample(worker.pid)

        await asyncio.gather(*(ask_and_ask() for _ in range(IN_FLIGHT)))
        in_flight = (await worker.metrics()).in_flight
        tally.missing += in_flight
    return tally


async def ask(model: mlxwire.Model, tally: Tally, dice: random.Random) -> None:
    prompt = "word " * dice.randrange(1, 30)
    kind = dice.random()
    try:
        async with asyncio.timeout(60):
            if kind < 0.1:
                await model.classify([prompt, "other"])
            elif kind < 0.2:
                await model.batch([prompt, "other"], max_tokens=4).results()
            else:
                stream = model.chat(prompt) if kind < 0.5 else model.generate(prompt)
                await take_some(stream, dice)
        tally.finals += 1
    except mlxwire.ProtocolViolation:  # such as a message after the final
        tally.late += 1
    except (TimeoutError, mlxwire.MlxwireError):
        tally.missing += 1


async def take_some(stream: mlxwire.TokenStream, dice: random.Random) -> None:
    """Read a stream to its end, or stop after a few tokens in one case of three."""
    most = dice.randrange(5) if dice.random() < 0.33 else 10**6
    async with stream:
        async for token in stream:
            if token.seq >= most:
                break


class TimedStorm(Storm):
    """`storm`'s, within a budget."""

    def run_within(self, budget: Budget) -> int:
        number = 0
        try:
            self._budget = budget
            self.run(budget.count, IN_FLIGHT)
            return budget.count
        except TimeoutError:
            self.until(lambda: not self.open)
            number = sum(name.startswith("r") for name in self.finals)
            self.send({"id": "q", "cmd": "quit"})
            self.until(lambda: self.finals["q"] == 1)
            return number

    def request(self, number: int) -> dict[str, object]:
        if not self._budget.take():
            raise TimeoutError
        return super().request(number)


async def tiny(budget: Budget, dice: random.Random) -> Tally:
    """`storm` with the tiny model: its host speaks the wire itself and counts every final."""
    storm = TimedStorm(TINY, dice.randrange(2**32))
    count = await asyncio.to_thread(storm.run_within, budget)
    await asyncio.to_thread(storm.process.wait)
    counts = [storm.finals[f"r{number}"] for number in range(count)]
    samples = [(memory, fds, 0) for memory, fds in storm.samples]
    return Tally(
        count=count,
        finals=counts.count(1),
        late=storm.late + sum(count > 1 for count in counts),
        missing=counts.count(0),
        samples=samples,
    )


# -- kills -------------------------------------------------------------------------------


async def host_kills(budget: Budget, dice: random.Random) -> Tally:
    """Kill a host at some moment of its life: its worker may not outlive it."""
    tally = Tally()
    while budget.take():
        phase = dice.choice(["starting", "idle", "decoding", "closing"])
        await asyncio.to_thread(kill_host, phase, dice.random() * 0.05, tally)
        if budget.is_sample_due():
            tally.sample()
    return tally


def kill_host(phase: str, wait: float, tally: Tally) -> None:
    command = [sys.executable, HOST, phase, "m", "--engine", "mock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        worker = int(host.stdout.readline())
        time.sleep(wait)
        pids = [worker, *children_of(worker)]
        began = time.monotonic()
        host.kill()
    tally.count += 1
    gone = [has_ended(pid, began + LATE_SECONDS - time.monotonic()) for pid in pids]
    tally.took(began)
    tally.orphans += gone.count(False)


async def worker_kills(budget: Budget, dice: random.Random) -> Tally:
    """Kill a worker amid requests: each of them must end at once."""
    tally = Tally()
    while budget.take():
        args = ["--engine", "mock", "--mock-step-seconds", "0.001"]
        async with mlxwire.Worker(args=args) as worker:
            model = await worker.load("m")
            streams = [model.generate("a b", ignore_eos=True) for _ in range(8)]
            asking = [asyncio.create_task(stream.text()) for stream in streams]
            await asyncio.sleep(dice.random() * 0.05)
            assert worker.pid is not None
            began = time.monotonic()
            os.kill(worker.pid, signal.SIGKILL)
            ended, hanging = await asyncio.wait(asking, timeout=LATE_SECONDS)
            tally.took(began)
            tally.finals += sum(
                isinstance(task.exception(), mlxwire.WorkerCrashed) for task in ended
            )
            tally.missing += len(hanging)
        tally.count += 1
        tally.orphans += not has_ended(worker.pid, 0)
        if budget.is_sample_due():
            tally.sample()
    return tally


async def restarts(budget: Budget, _: random.Random) -> Tally:
    """Kill a worker with a restart policy again and again; the next request finds another."""
    tally = Tally()
    worker = mlxwire.Worker(engine="mock", restart=AT_ONCE)
    async with worker:
        model = await worker.load("m")
        while budget.take():
            pid = worker.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            while worker.pid == pid or worker.state != "ready":
                try:
                    await model.generate("a b").text()
                except mlxwire.WorkerCrashed:
                    continue
            tally.took(began)
            tally.finals += await model.generate("a b").text() == "a b"
            tally.count += 1
            tally.orphans += not has_ended(pid, 0)
            if budget.is_sample_due():
                tally.sample()
    return tally


PARTS: dict[str, tuple[Callable[[Budget, random.Random], Coroutine[Any, Any, Tally]], int]] = {
    "mock": (mock, 1_000_000),
    "tiny": (tiny, 50_000),
    "host-kills": (host_kills, 1_000),
    "worker-kills": (worker_kills, 1_000),
    "restarts": (restarts, 100),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART[=COUNT]", help=", ".join(PARTS))
    parser.add_argument("--requests", type=int, default=10**9, help="the most of each part")
    parser.add_argument("--seconds", type=float, default=3600.0, help="the most for each part")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for width, name in zip(WIDTHS, HEAD, strict=True):
        print(name.rjust(width), end="")
    print(flush=True)
    failures = 0
    for asked in given.parts or PARTS:
        name, _, count = asked.partition("=")
        if name not in PARTS:
            parser.error(f"there is no part {name}; there are {', '.join(PARTS)}")
        part, usual = PARTS[name]
        budget = Budget(min(int(count or usual), given.requests), given.seconds)
        began = time.monotonic()
        tally = asyncio.run(part(budget, random.Random(given.seed)))
        cells = [name, *tally.row(), f"{time.monotonic() - began:.0f}"]
        print("".join(cell.rjust(width) for width, cell in zip(WIDTHS, cells, strict=True)))
        sys.stdout.flush()
        failures += tally.late + tally.missing + tally.orphans
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
