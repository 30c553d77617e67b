"""Bounds the work of building a module tree, so that no config.json keeps the worker busy.

mlx-lm runs loops as long as config.json says (layers, experts, heads) before it compares the result
with the weights. A trace function counts the lines and the modules instead: what a name means is
not guessed, and a cancel is heard meanwhile. Loops inside C code can't be counted, so an integer
above `LARGEST_COUNT` is handed on as a float, which C code refuses to repeat or to count to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from mlx import nn

MOST_MODULES, MODULES_PER_TENSOR = 4096, 8
"""A real model has about one tensor per module, of which the largest have some thousand."""
MOST_LINES, LINES_PER_TENSOR = 500_000, 300
MODULES_AT_ALL, LINES_AT_ALL = 1 << 16, 20_000_000
LARGEST_COUNT = 1 << 24
_LISTEN_EACH = 100_000
_OURS = ("mlx_lm.", "mlx.")

Trace = Callable[[FrameType, str, Any], Any]


class TooMuchWork(Exception):
    """A module tree is far larger than its weights."""


class BoundedWork:
    """Context manager that stops the code within it when that builds far more than its weights.

    ``heard`` is called now and then; what it raises ends the work. Raises: TooMuchWork.
    """

    def __init__(self, tensors: int, heard: Callable[[], None]) -> None:
        self._modules = min(MOST_MODULES + MODULES_PER_TENSOR * tensors, MODULES_AT_ALL)
        self._lines = min(MOST_LINES + LINES_PER_TENSOR * tensors, LINES_AT_ALL)
        self._heard = heard
        self._listen_at = self._lines - _LISTEN_EACH
        self._before: Any = None

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._called)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.settrace(self._before)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Trace | None:
        if frame.f_code is _MODULE_IS_MADE:
            self._modules -= 1
            if self._modules < 0:
                raise TooMuchWork("too many layers, experts or other parts")
        self._line(frame, event, argument)
        ours = frame.f_globals.get("__name__", "").startswith(_OURS)
        return self._line if ours else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Trace:
        self._lines -= 1
        if self._lines < self._listen_at:
            self._listen_at -= _LISTEN_EACH
            self._heard()
            if self._lines < 0:
                raise TooMuchWork("loops that are too long")
        return self._line


_MODULE_IS_MADE = nn.Module.__init__.__code__


def without_huge_counts(value: Any) -> Any:
    """Return a copy of parsed JSON in which integers above `LARGEST_COUNT` are floats.

    Raises: OverflowError for an integer that no float holds.
    """
    if isinstance(value, dict):
        return {name: without_huge_counts(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_huge_counts(each) for each in value]
    if isinstance(value, int) and value > LARGEST_COUNT:
        return float(value)
    return value
