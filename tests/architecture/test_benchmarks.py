"""The benchmarks run by hand alone, so nothing else would notice that one can't begin."""

from __future__ import annotations

import runpy
import sys

import pytest

from .sources import ROOT

SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "bench").glob("*/*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_benchmark_finds_all_that_it_imports(
    script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])

    runpy.run_path(str(ROOT / script), run_name="imported")
