"""Checks folders as a load does, in a process of its own, which builds each model with MLX.

The process is started at the first folder, and again if a folder has ended it.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

from mlxwire_protocol import WireError

from ...process.child.program import BadLine, Program, tied_command
from ...requests.surroundings import lacking
from ..models.model_files import failed

LOOK_SECONDS = 0.05
"""The most time between two looks at the process; a request notices a cancel at each."""
_MODULE = f"{__package__}.full_check_program"


class FullCheck:
    """The process that builds models."""

    def __init__(self) -> None:
        self._program: Program | None = None

    def check(self, path: Path) -> Generator[None, None, dict[str, Any]]:
        """Build a model and return its `info`; yield None while that takes.

        Raises: WireError, the one that a load would end with.
        """
        answer = json.loads((yield from self._ask(path)))
        if (told := answer.get("error")) is not None:
            raise WireError(**told)
        info: dict[str, Any] = answer["info"]
        return info

    def close(self) -> None:
        """End the process."""
        if self._program is not None:
            self._program.close()
            self._program = None

    def _ask(self, path: Path) -> Generator[None, None, bytes]:
        """Return the line of the process for a folder. Raises: WireError."""
        program = self._started(path)
        while True:
            try:
                lines = program.wait(LOOK_SECONDS)
                if not lines and program.exit_code is not None:
                    lines = program.rest()
            except BadLine:
                lines = []
            if lines:
                return lines[0]
            if program.exit_code is not None:
                raise self._ended(program)
            yield None

    def _started(self, path: Path) -> Program:
        task = json.dumps(str(path)).encode()
        if self._program is not None:
            self._program.send(task)
            return self._program
        try:
            self._program = Program(tied_command(_MODULE), task)
        except (OSError, MemoryError) as error:
            told = lacking(error, "the process that checks models can't be started")
            raise told or error from None
        return self._program

    def _ended(self, program: Program) -> WireError:
        how = program.signal_name() or f"exit code {program.exit_code}"
        self.close()
        return failed(
            "check_ended",
            f"the process that built the model ended by {how}, so a load may end the worker; copy the "
            "model again from its source",
        )
