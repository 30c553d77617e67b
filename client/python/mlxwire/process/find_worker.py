"""Find the worker's program: from the caller, the environment, or what is installed."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence

from ..errors import SpawnFailed

WORKER_VARIABLE = "MLXWIRE_WORKER"
WORKER_MODULE = "mlxwire_worker"
WORKER_PROGRAM = "mlxwire-worker"
SAFE_PATH = ("-P",)
"""Keeps Python from importing modules of the working folder, which may be a model's."""


def find_worker(
    command: str | Sequence[str] | None = None, env: Mapping[str, str] | None = None
) -> list[str]:
    """Return the worker's command line: the first of these that exists.

    ``command`` (a string is split as a shell does), the variable ``MLXWIRE_WORKER`` (split
    likewise), this interpreter with ``-P -m mlxwire_worker``, ``mlxwire-worker`` in an absolute
    folder of the ``PATH``.

    Raises: SpawnFailed if none exists, or if a string can't be split.
    """
    env = os.environ if env is None else env
    if command is not None:
        return _split(command, "command")
    named = env.get(WORKER_VARIABLE, "").strip()
    if named:
        return _split(named, WORKER_VARIABLE)
    # sys.executable of a frozen application is the application itself: it must not be started.
    frozen = getattr(sys, "frozen", False)
    if sys.executable and not frozen and importlib.util.find_spec(WORKER_MODULE):
        return [sys.executable, *SAFE_PATH, "-m", WORKER_MODULE]
    # An empty or relative entry of PATH means the working folder, whose files must not run.
    folders = filter(os.path.isabs, env.get("PATH", "").split(os.pathsep))
    program = shutil.which(WORKER_PROGRAM, path=os.pathsep.join(folders) or os.defpath)
    if program:
        return [program]
    raise SpawnFailed(
        f"no worker was found: install one with `pip install 'mlxwire[mlx]'`, or name its "
        f"command in the variable {WORKER_VARIABLE} or in Worker(command=…)"
    )


def worker_python(command: Sequence[str]) -> str:
    """Return the interpreter that a worker's command names, or else this interpreter."""
    options = list(command[1:])
    if options[:1] == [*SAFE_PATH]:
        del options[0]
    if options[:2] == ["-m", WORKER_MODULE]:
        return command[0]
    return sys.executable


def _split(command: str | Sequence[str], source: str) -> list[str]:
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise SpawnFailed(
            f"`{source}` can't be split into words: {error}. Write it as for a shell, or give a list"
        ) from None
    if not words:
        raise SpawnFailed(f"`{source}` is empty: give the worker's program and arguments")
    return words
