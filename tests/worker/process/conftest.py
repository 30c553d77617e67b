"""Fixtures of tests about processes that outlive others."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator

import pytest

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def adopt_orphans() -> Iterator[None]:
    """Make orphans this process's children, so that their exit codes can be told."""
    if sys.platform != "linux":
        pytest.skip("only Linux hands orphans to a chosen process")
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0)
