"""`make clean` leaves nothing of what the builds of the clients made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TYPESCRIPT = Path("client/typescript")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on the PATH")
def test_make_clean_removes_each_folder_that_the_typescript_client_builds() -> None:
    plan = subprocess.run(
        ["make", "--dry-run", "clean"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    ignored = (ROOT / TYPESCRIPT / ".gitignore").read_text(encoding="utf-8").split()
    built = {str(TYPESCRIPT / entry) for entry in ignored if entry.endswith("/")}
    assert str(TYPESCRIPT / "dist-test") in built
    assert built <= set(plan.stdout.split())
