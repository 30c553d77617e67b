"""Tokens a second into the Go client, from a program that writes encoded token lines.

    python -m bench.clients.go_client [rounds]

The benchmarks themselves are in client/go/bench_test.go. "bare pipe" is the floor: the same lines
read with bufio.Scanner and encoding/json. The client's streams are sent no further than they
were given credit. "sleepers" are streams that nobody takes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parents[2] / "client" / "go"
ROWS = {
    "BarePipe": "bare pipe and encoding/json",
    "Streams/1": "1 stream",
    "Streams/64": "64 streams",
    "Sleepers": "64 sleepers",
}


def run_benchmarks(rounds: int) -> str:
    command = ["go", "test", "-run", "^$", "-bench", "BarePipe|Streams|Sleepers"]
    done = subprocess.run(
        [*command, "-benchtime", f"{rounds}x", "."],
        cwd=CLIENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def read_metrics(output: str) -> dict[str, tuple[float, str]]:
    """Each benchmark's own figure: its value and its unit."""
    metrics = {}
    for line in output.splitlines():
        name = re.match(r"Benchmark(\S+?)(?:-\d+)?\s", line)
        figure = re.search(r"([\d.e+]+) (tokens/s|heap-bytes/stream)", line)
        if name and figure:
            metrics[name[1]] = float(figure[1]), figure[2]
    return metrics


def main() -> None:
    if shutil.which("go") is None:
        sys.exit("go is not on the PATH: install Go 1.24 to measure its client")
    metrics = read_metrics(run_benchmarks(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
    for name, title in ROWS.items():
        value, unit = metrics[name]
        print(f"{title:30}{value:14,.0f} {unit}")


if __name__ == "__main__":
    main()
