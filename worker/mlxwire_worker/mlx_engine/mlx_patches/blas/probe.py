"""Runs `probe_program` on a library and tells if MLX may use it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from .candidates import VARIABLE
from .verdicts import Verdict

SECONDS = 20.0
"""How long a probe may take; it takes 0.2 s on an idle machine."""
_PROGRAM = Path(__file__).with_name("probe_program.py")


class ProbeFailed(Exception):
    """The probe could not be made, which says nothing about the library."""


def probe(library: Path) -> Verdict:
    """Try a library in a child process. Raises: ProbeFailed."""
    command = [sys.executable, "-P", str(_PROGRAM), str(library), str(os.getpid())]
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        raise ProbeFailed(
            f"its probe did not end within {SECONDS:g} s; if that recurs, set {VARIABLE} to off"
        ) from None
    except OSError as error:
        raise ProbeFailed(f"its probe did not start ({error.strerror})") from None
    if ended.returncode < 0:
        if -ended.returncode == signal.SIGKILL:
            raise ProbeFailed("its probe was killed from outside")
        name = signal.Signals(-ended.returncode).name
        return Verdict(error=f"its probe crashed with {name}")
    if (
        ended.returncode == 1
    ):  # an exception in Python: MLX itself can't be imported, for example
        raise ProbeFailed("its probe ended with 1 and told nothing")
    try:
        return msgspec.json.decode(ended.stdout, type=Verdict)
    except msgspec.MsgspecError:
        return Verdict(error=f"its probe ended with {ended.returncode} and told nothing")
