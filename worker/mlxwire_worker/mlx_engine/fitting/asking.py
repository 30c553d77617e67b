"""Asks a program of its own to predict the memory of a model, and reads the answer.

Imports no MLX: it runs beside the engine's thread, which may be computing.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from mlxwire_protocol import WireError
from mlxwire_protocol.replies import ErrorBody

from ...folders import Fit
from ...process.child.program import BadLine, Program, tied_command
from ...process.stdio import log
from ...requests.surroundings import lacking

MOST_SECONDS = 120.0
"""The longest that a prediction may take; the largest models take a few seconds."""
_COMMAND = "mlxwire_worker.mlx_engine.fitting.program"


class _Answer(msgspec.Struct, kw_only=True, frozen=True):
    result: Fit | None = None
    error: ErrorBody | None = None


def ask(task: dict[str, Any]) -> Fit:
    """Start the program with a task, the fields of a `FitTask`, and wait for its answer.

    Raises: WireError.
    """
    try:
        program = Program(tied_command(_COMMAND), msgspec.json.encode(task))
    except (OSError, MemoryError) as error:
        lack = lacking(error, "the prediction can't be started")
        raise lack or _failed(str(error)) from None
    try:
        line = _first_line(program)
        answer = msgspec.json.decode(line, type=_Answer)
    except (BadLine, msgspec.DecodeError) as error:
        for told in program.stderr_lines.last():
            log(told)
        raise _failed(f"its process ended with exit code {program.exit_code}") from error
    finally:
        program.close()
    if answer.error is not None:
        raise WireError(**msgspec.structs.asdict(answer.error))
    assert answer.result is not None
    return answer.result


def _first_line(program: Program) -> bytes:
    """Return the line that the program writes; empty if it ends or takes too long."""
    deadline = time.monotonic() + MOST_SECONDS
    while time.monotonic() < deadline:
        if lines := program.wait(1.0):
            return lines[0]
        if program.exit_code is not None:
            return next(iter(program.rest()), b"")
    return b""


def _failed(what: str) -> WireError:
    return WireError("unavailable", f"the memory can't be predicted: {what}; ask again")
