"""The worker's command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from mlxwire_protocol.framing import DEFAULT_MAX_LINE_BYTES

from . import __version__


@dataclass(frozen=True, slots=True)
class Options:
    """What the host decided when it started the worker; nothing on the wire can change it."""

    engine: str
    drain_on_eof: bool
    model_roots: tuple[Path, ...]
    data_roots: tuple[Path, ...]
    allow_hub: bool
    max_line_bytes: int
    max_inflight: int
    heartbeat_seconds: float
    mock_step_seconds: float
    print_schema: bool


def parse_options(arguments: list[str]) -> Options:
    """Parse, or exit 2 with a usage line on stderr."""
    parser = argparse.ArgumentParser(
        prog="mlxwire-worker",
        description="A language model behind stdin and stdout, one JSON object a line.",
    )
    parser.add_argument("--version", action="version", version=f"mlxwire-worker {__version__}")
    parser.add_argument("--engine", choices=["mlx", "mock"], default="mlx")
    parser.add_argument(
        "--drain-on-eof",
        action="store_true",
        help="at stdin's end finish what is in flight instead of cancelling it",
    )
    parser.add_argument(
        "--model-root",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="read models and adapters from below DIR alone, symlinks resolved (repeatable)",
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="let commands write files below DIR alone, symlinks resolved (repeatable)",
    )
    parser.add_argument(
        "--allow-hub",
        action="store_true",
        help="let `load` fetch a model from the hub by name; otherwise only local folders",
    )
    parser.add_argument("--max-line-bytes", type=_positive, default=DEFAULT_MAX_LINE_BYTES)
    parser.add_argument("--max-inflight", type=_positive, default=4096)
    parser.add_argument(
        "--heartbeat-seconds",
        type=float,
        default=1.0,
        help="how often the `heartbeat` event is sent to a host that asked for it",
    )
    parser.add_argument(
        "--mock-step-seconds",
        type=float,
        default=0.0,
        help="with --engine mock: how long a step takes",
    )
    parser.add_argument(
        "--print-schema", action="store_true", help="print the wire's JSON Schema and exit"
    )
    parsed = parser.parse_args(arguments)
    return Options(
        engine=parsed.engine,
        drain_on_eof=parsed.drain_on_eof,
        model_roots=tuple(parsed.model_root),
        data_roots=tuple(parsed.data_root),
        allow_hub=parsed.allow_hub,
        max_line_bytes=parsed.max_line_bytes,
        max_inflight=parsed.max_inflight,
        heartbeat_seconds=parsed.heartbeat_seconds,
        mock_step_seconds=parsed.mock_step_seconds,
        print_schema=parsed.print_schema,
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value
