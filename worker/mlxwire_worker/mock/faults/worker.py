"""Runs the worker's own loop with a faulty reader and a faulty writer around it."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from ...process.options import Options
from ...process.parent import ParentWatch
from ...process.reader import EXIT_STDOUT_BROKEN
from ...process.stdio import log
from ...worker import Worker
from .cancels import Cancels
from .dialogue import Dialogue
from .process import close_pipe, spawn_grandchild, write_stderr
from .reader import FaultyReader
from .script import (
    Close,
    Deaf,
    FaultScript,
    Grandchild,
    IgnoreEof,
    IgnoreSigterm,
    ProcessFault,
    Stderr,
    load_script,
    unfit_for_dialect0,
)
from .triggers import Triggers
from .writer import FaultyWriter

EXIT_USAGE = 2


def serve_with_faults(
    options: Options, path: str, wire_in: int, wire_out: int, parent: ParentWatch
) -> NoReturn:
    """Serve with the fault script at ``path``; exit 2 if it can't be read."""
    try:
        script = load_script(path)
    except ValueError as error:
        log(f"--faults {error}")
        sys.exit(EXIT_USAGE)
    FaultyWorker(options, script, path, wire_in, wire_out, parent).run()


class FaultyWorker(Worker):
    """A `Worker` that applies the faults of a script."""

    def __init__(
        self,
        options: Options,
        script: FaultScript,
        path: str,
        wire_in: int,
        wire_out: int,
        parent: ParentWatch,
    ) -> None:
        super().__init__(options, wire_in, wire_out, parent)

        def refuse_without_ids() -> None:
            if (reason := unfit_for_dialect0(script)) is not None:
                log(f"--faults {path}: {reason}")
                os._exit(EXIT_USAGE)

        dialogue, triggers = Dialogue(refuse_without_ids), Triggers(script)
        cancels = Cancels(dialogue)
        self._wire = wire_in, wire_out
        self._writer: FaultyWriter = FaultyWriter(
            wire_out,
            on_broken=lambda: os._exit(EXIT_STDOUT_BROKEN),
            on_room=self._inbox.wake,
            dialogue=dialogue,
            triggers=triggers,
            cancels=cancels,
            on_process_fault=self._on_process_fault,
            max_line_bytes=options.max_line_bytes,
            seed=script.seed,
        )
        self._reader: FaultyReader = FaultyReader(
            wire_in,
            wire_out,
            parent,
            stalled=self._writer.stalled,
            drains=options.drain_on_eof,
            dialogue=dialogue,
            triggers=triggers,
            on_fault=cancels.take,
        )
        self._writer.begin()

    def _on_process_fault(self, fault: ProcessFault) -> None:
        match fault:
            case Stderr():
                write_stderr(fault)
            case Grandchild():
                spawn_grandchild(fault, *self._wire)
            case Close():
                if fault.pipe == "stdin":
                    self._reader.turn_deaf()
                close_pipe(fault, *self._wire)
            case Deaf():
                self._reader.turn_deaf()
            case IgnoreEof():
                self._reader.ignores_end = True
            case IgnoreSigterm():
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
