"""Which program is the worker: what the caller says, what the environment says, what is here."""

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


def find_worker(
    command: str | Sequence[str] | None = None, env: Mapping[str, str] | None = None
) -> list[str]:
    """The worker's command line; the first of these that there is:

    ``command`` (a string is split as a shell would), ``MLXWIRE_WORKER`` (split likewise),
    this interpreter with ``-m mlxwire_worker``, ``mlxwire-worker`` on the ``PATH``.

    Raises: SpawnFailed where there is none, or a string can't be split.
    """
    env = os.environ if env is None else env
    if command is not None:
        return _split(command, "command")
    named = env.get(WORKER_VARIABLE, "").strip()
    if named:
        return _split(named, WORKER_VARIABLE)
    # In a frozen application the interpreter is the application itself: never start that.
    frozen = getattr(sys, "frozen", False)
    if sys.executable and not frozen and importlib.util.find_spec(WORKER_MODULE):
        return [sys.executable, "-m", WORKER_MODULE]
    program = shutil.which(WORKER_PROGRAM, path=env.get("PATH"))
    if program:
        return [program]
    raise SpawnFailed(
        f"no worker was found: install one with `pip install 'mlxwire[mlx]'`, or name its "
        f"command in {WORKER_VARIABLE} or in Worker(command=…)"
    )


def _split(command: str | Sequence[str], source: str) -> list[str]:
    try:
        words = shlex.split(command) if isinstance(command, str) else list(command)
    except ValueError as error:
        raise SpawnFailed(f"`{source}` can't be split into words: {error}") from None
    if not words:
        raise SpawnFailed(f"`{source}` is empty: give the worker's program and arguments")
    return words
