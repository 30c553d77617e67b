"""Reads the pages: their programs, their commands, and what these are said to print.

A ```python block is followed by the ```text that it prints. In a ```console block `$ ` begins a
command, and what follows is its output. `…` stands for anything, alone on a line for any lines.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from architecture.sources import ROOT

ELLIPSIS = "…"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*\n)", re.MULTILINE)
DOCS = sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", *DOCS]
"""The pages whose programs and commands are run."""


class Example(NamedTuple):
    """A program or a command, and what the page says that it prints."""

    page: str
    number: int
    text: str
    said: str

    @property
    def id(self) -> str:
        return f"{self.page}-{self.number}"


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def section(page: str, heading: str) -> str:
    """Return the text from a heading up to the next one of its level or above."""
    _, text = read(page).split(f"\n{heading}\n", 1)
    level = len(heading) - len(heading.lstrip("#"))
    return re.split(rf"^#{{1,{level}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]


def blocks(page: str) -> list[tuple[str, str]]:
    """Return language and text of each fenced block, in order."""
    return BLOCK.findall(read(page))


def programs() -> list[Example]:
    """Return the Python programs of all pages."""
    return [
        Example(page, number, code, said)
        for page in PAGES
        for number, ((kind, code), (_, said)) in enumerate(itertools.pairwise(blocks(page)))
        if kind == "python"
    ]


def commands() -> list[Example]:
    """Return the console commands of all pages."""
    found = []
    for page in PAGES:
        texts = [text for kind, text in blocks(page) if kind == "console"]
        parts = [part for text in texts for part in COMMAND.split(text)[1:]]
        pairs = zip(parts[::2], parts[1::2], strict=True)
        found += [Example(page, number, *pair) for number, pair in enumerate(pairs)]
    return found


def matches(said: str, printed: str) -> bool:
    """Return True if the output is what a page says, where `…` stands for anything."""
    lines = []
    for line in said.splitlines(keepends=True):
        anything = line.strip() == ELLIPSIS
        parts = [re.escape(part) for part in line.split(ELLIPSIS)]
        lines.append(r"(?:.*\n)*?" if anything else r"[^\n]*".join(parts))
    return re.fullmatch("".join(lines), printed) is not None


def run(command: list[str], *, errors: int = subprocess.PIPE) -> tuple[str, str]:
    """Run a command in the repository; return what it wrote to stdout and to stderr."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    ran = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        cwd=ROOT,
        env={**os.environ, "PATH": path, "MLXWIRE_WORKER": ""},
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout, ran.stderr or ""
