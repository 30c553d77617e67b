"""Parses the worker's command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct

from mlxwire_protocol.framing import DEFAULT_MAX_LINE_BYTES

from .. import __version__

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Options(Struct, frozen=True, kw_only=True):
    """The options that the host started the worker with. No request can change them.

    Sizes are in bytes, times in seconds; `testdata/faults/README.md` describes ``faults``.
    ``parent_pid`` is 0 if the host has not named itself.
    """

    engine: str = "mlx"
    drain_on_eof: bool = False
    flush_seconds: float = 30.0
    parent_pid: int = 0
    model_roots: tuple[str, ...] = ()
    data_roots: tuple[str, ...] = ()
    allow_hub: bool = False
    max_line_bytes: int = DEFAULT_MAX_LINE_BYTES
    max_inflight: int = 4096
    heartbeat_seconds: float = 1.0
    mock_step_seconds: float = 0.0
    faults: str | None = None
    print_schema: bool = False
    scrub_env: bool = False
    env_allow: tuple[str, ...] = ()


def parse_options(arguments: list[str], parent_pid: str = "") -> Options:
    """Parse the arguments; exit 2 with a usage line on stderr if one is wrong.

    ``parent_pid`` is the value of `--parent-pid` if no argument gives one; empty for none.
    """
    if not arguments and (not parent_pid or _is_pid(parent_pid)):
        # The usual start saves the 3 ms that importing argparse takes.
        return Options(parent_pid=int(parent_pid or 0))
    if parent_pid:
        arguments = [f"--parent-pid={parent_pid}", *arguments]
    parser = _make_parser()
    parsed = vars(parser.parse_args(arguments))
    if parsed["faults"] is not None and parsed["engine"] != "mock":
        parser.error("--faults works with the mock engine only; add --engine mock")
    parsed["env_allow"] = tuple(parsed["env_allow"])
    if parsed["env_allow"] and not parsed["scrub_env"]:
        parser.error("--env-allow has no effect without --scrub-env; add --scrub-env")
    roots = {name: tuple(parsed.pop(name)) for name in ("model_root", "data_root")}
    return Options(model_roots=roots["model_root"], data_roots=roots["data_root"], **parsed)


def _make_parser() -> ArgumentParser:
    import argparse

    defaults = Options()
    parser = argparse.ArgumentParser(
        prog="mlxwire-worker",
        description="A language model behind stdin and stdout, one JSON object a line.",
    )
    parser.add_argument("--version", action="version", version=f"mlxwire-worker {__version__}")
    parser.add_argument("--engine", choices=["mlx", "mock"], default=defaults.engine)
    parser.add_argument(
        "--drain-on-eof",
        action="store_true",
        help="at the end of stdin, finish the requests in flight instead of cancelling them",
    )
    parser.add_argument(
        "--flush-seconds",
        type=_seconds,
        default=defaults.flush_seconds,
        help="after `quit` and with --drain-on-eof: how long the worker waits for a host that reads "
        "nothing of what is left to write, before it exits 5",
    )
    parser.add_argument(
        "--parent-pid",
        type=_pid,
        default=defaults.parent_pid,
        metavar="N",
        help="the pid of the host; the worker exits 4 when that process ends. 0 is the process that "
        "starts the worker (default: the environment variable MLXWIRE_PARENT_PID, then 0)",
    )
    parser.add_argument(
        "--model-root",
        type=_folder,
        action="append",
        default=[],
        metavar="DIR",
        help="read models and adapters only from below DIR, symlinks resolved (repeatable)",
    )
    parser.add_argument(
        "--data-root",
        type=_folder,
        action="append",
        default=[],
        metavar="DIR",
        help="let commands write files, and trainings read data, only below DIR, symlinks resolved "
        "(repeatable)",
    )
    parser.add_argument(
        "--allow-hub",
        action="store_true",
        help="let `load` fetch a model from the hub by name; otherwise only local folders",
    )
    parser.add_argument(
        "--scrub-env",
        action="store_true",
        help="remove the host's environment variables at the start, except those that Python and "
        "MLX need",
    )
    parser.add_argument(
        "--env-allow",
        action="append",
        default=[],
        metavar="NAME",
        help="with --scrub-env: keep this variable too; `*` matches anything (repeatable)",
    )
    parser.add_argument("--max-line-bytes", type=_positive, default=defaults.max_line_bytes)
    parser.add_argument("--max-inflight", type=_positive, default=defaults.max_inflight)
    parser.add_argument(
        "--heartbeat-seconds",
        type=_seconds,
        default=defaults.heartbeat_seconds,
        help="seconds between two `heartbeat` events to a host that asked for them",
    )
    parser.add_argument(
        "--mock-step-seconds",
        type=_seconds,
        default=defaults.mock_step_seconds,
        help="with --engine mock: seconds that a step takes",
    )
    parser.add_argument(
        "--faults",
        metavar="FILE",
        help="with --engine mock: a script of faults, for tests of a client",
    )
    parser.add_argument(
        "--print-schema", action="store_true", help="print the wire's JSON Schema and exit"
    )
    return parser


def _positive(text: str) -> int:
    import argparse

    value = _whole(text)
    if value is None or value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on; give one")
    return value


def _pid(text: str) -> int:
    import argparse

    value = _whole(text)
    if value is None or not 0 <= value < 1 << 31:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no process id; give the host's, or 0 for the process that starts the "
            "worker (the environment variable MLXWIRE_PARENT_PID names it too)"
        )
    return value


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _is_pid(text: str) -> bool:
    return text.isdecimal() and int(text) < 1 << 31


def _seconds(text: str) -> float:
    import argparse

    try:
        value = float(text)
    except ValueError:
        value = -1
    if not value >= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; give a number of seconds from 0 on"
        )
    return value


def _folder(text: str) -> str:
    import argparse

    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder; give an existing folder")
    return text
