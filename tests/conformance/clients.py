"""The drivers of this repository's clients: where they are, and how they are built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .driver import HERE, ROOT

GO = ROOT / "client" / "go"
TYPESCRIPT = ROOT / "client" / "typescript"
BUILD_SECONDS = 300


def python_driver(_: Path) -> list[str]:
    """Return the command of the Python driver, by this interpreter."""
    return [sys.executable, str(HERE / "driver_python.py")]


def go_driver(folder: Path) -> list[str]:
    """Build the Go driver into that folder; return its command."""
    _need(GO / "internal" / "conformance" / "driver" / "main.go", "go")
    program = folder / "driver"
    _build(["go", "build", "-o", str(program), "./internal/conformance/driver"], GO)
    return [str(program)]


def typescript_driver(_: Path) -> list[str]:
    """Compile the TypeScript driver beside its own tests; return its command."""
    _need(TYPESCRIPT / "conformance" / "driver.ts", "npm")
    if not (TYPESCRIPT / "node_modules").exists():
        _not_here("client/typescript lacks its compiler: run `npm ci` there")
    _build(["npm", "run", "--silent", "build:test"], TYPESCRIPT)
    return ["node", str(TYPESCRIPT / "dist-test" / "conformance" / "driver.js")]


DRIVERS: dict[str, Callable[[Path], list[str]]] = {
    "python": python_driver,
    "go": go_driver,
    "typescript": typescript_driver,
}


def _need(sources: Path, program: str) -> None:
    if not sources.exists():
        _not_here(f"there is no {sources.relative_to(ROOT)}")
    if shutil.which(program) is None:
        _not_here(f"{program} is not installed, so {sources.relative_to(ROOT)} is not tried")


def _not_here(why: str) -> None:
    """Skip the test on a developer's machine; fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{why}; CI must have it")
    pytest.skip(why)


def _build(command: list[str], folder: Path) -> None:
    built = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    if built.returncode:
        pytest.fail(f"{' '.join(command)}:\n{built.stderr[-4000:]}")
