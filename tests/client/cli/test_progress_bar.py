"""A load's progress bar shows the share of a known total, and otherwise the number done."""

from __future__ import annotations

import io
import sys

import pytest

from mlxwire.cli.terminal import ProgressBar
from mlxwire_protocol.replies import Progress


class Terminal(io.StringIO):
    """Text that a terminal was given."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stage", "shown", "not_shown"),
    [("compile", "kernels compiled: 3", "75%"), ("warmup", "75%", "kernels")],
)
def test_kernels_are_counted_and_other_stages_have_a_share(
    stage: str, shown: str, not_shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    with ProgressBar() as bar:
        bar(Progress(id="l", stage=stage, done=3, total=4))

    assert shown in terminal.getvalue()
    assert not_shown not in terminal.getvalue()
