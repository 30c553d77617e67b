"""Tells the host of the kernels that MLX compiles while a model is loaded: the stage `compile`.

MLX compiles a kernel at its first use, inside an evaluation, and tells nobody: one of a CUDA device
takes up to half a minute. So a thread looks for the files of new kernels meanwhile.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Self

from ..engine import Cancelled, ProgressReport
from ..process.kernel_folder import compiled_kernels, has_compiled_for_cuda

STAGE = "compile"
LOOK_SECONDS = 0.25
TELL_SECONDS = 1.0
"""While a kernel is compiled, the host hears at least so often that this goes on."""


class CompileProgress:
    """Passes on the reports of a load, and adds the number of kernels compiled since it began.

    ``done`` counts the kernels, and ``total`` is one more while others may follow: nobody knows how
    many a model needs. A worker that compiles beside this one, in the same folder, counts too.
    """

    def __init__(self, report: ProgressReport) -> None:
        self._report = report
        self._before = compiled_kernels()
        self._compiled = 0
        self._told = False
        self._last_report = time.monotonic()
        self._reading = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="compile", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._count()
        if failed is None and (self._told or self._compiled):
            # Without a folder for kernels there is no file to count.
            done = max(self._compiled, 1)
            self._report(STAGE, done, done)

    def __call__(self, stage: str, done: float, total: float) -> None:
        """Pass on a report of the load. Raises: as the report that was given."""
        self._last_report = time.monotonic()
        self._reading = stage == "load" and done < total
        self._report(stage, done, total)

    def _watch(self) -> None:
        with suppress(Cancelled):  # the engine's own thread ends a cancelled load
            while not self._ended.wait(LOOK_SECONDS):
                if self._count() or self._compiles_still():
                    self._told = True
                    self._last_report = time.monotonic()
                    self._report(STAGE, self._compiled, self._compiled + 1)

    def _count(self) -> bool:
        """Count the new kernels; return True if their number has changed."""
        before, self._compiled = self._compiled, len(compiled_kernels() - self._before)
        return before != self._compiled

    def _compiles_still(self) -> bool:
        """Return True if a CUDA device's kernel keeps the load from going on, by all signs."""
        silent = time.monotonic() - self._last_report
        return silent >= TELL_SECONDS and not self._reading and has_compiled_for_cuda()
