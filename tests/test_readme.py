"""README's programs are run and its claims about names are checked, so that it can't rot.

A ```python block is followed by the ```text that it prints. In a ```console block `$ ` begins a
command, and what follows is its output. `…` stands for anything, alone on a line for any lines.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from architecture.sources import ROOT, tracked_files
from mlxwire_worker.process.options import Options

README = (ROOT / "README.md").read_text("utf-8")
ELLIPSIS = "…"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GUIDES = ["README.md", "CONTRIBUTING.md", "bench/README.md"]


def blocks(text: str = README) -> list[tuple[str, str]]:
    """Language and text of each fenced block, in order."""
    return BLOCK.findall(text)


ELSEWHERE = {
    "go": ROOT / "client/go/example_test.go",
    "js": ROOT / "client/typescript/README.md",
}
"""Excerpts in other languages, and the whole that their own tests hold."""


def programs() -> list[tuple[str, str]]:
    """Each Python program, and what it is said to print."""
    pairs = itertools.pairwise(blocks())
    return [(code, output) for (kind, code), (_, output) in pairs if kind == "python"]


def commands() -> list[tuple[str, str]]:
    """Each command of a console, and what it is said to print."""
    command = r"^\$ ((?:.*\\\n)*.*\n)"
    return [
        (asked, output)
        for kind, text in blocks()
        if kind == "console"
        for asked, output in _pairs(re.split(command, text, flags=re.MULTILINE)[1:])
    ]


def _pairs(parts: list[str]) -> list[tuple[str, str]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


def matches(said: str, printed: str) -> bool:
    """Whether the output is what the README says, `…` aside."""
    lines = []
    for line in said.splitlines(keepends=True):
        anything = line.strip() == ELLIPSIS
        parts = [re.escape(part) for part in line.split(ELLIPSIS)]
        lines.append(r"(?:.*\n)*?" if anything else r"[^\n]*".join(parts))
    return re.fullmatch("".join(lines), printed) is not None


def run(command: list[str], *, errors: int = subprocess.PIPE) -> tuple[str, str]:
    """Output and errors of a command in the repository, with this environment's programs."""
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


@pytest.mark.parametrize(("code", "said"), programs(), ids=range(len(programs())))
def test_a_program_prints_what_the_readme_says(code: str, said: str) -> None:
    printed, errors = run([sys.executable, "-W", "error", "-c", code])

    assert matches(said, printed), printed
    assert errors == ""


@pytest.mark.parametrize(
    ("command", "said"),
    commands(),
    ids=[f"{c.split()[0]}-{c.split()[1]}" for c, _ in commands()],
)
def test_a_command_prints_what_the_readme_says(command: str, said: str) -> None:
    printed, _ = run(["bash", "-c", f"set -o pipefail\n{command}"], errors=subprocess.STDOUT)

    assert matches(said, printed), printed


def test_every_program_and_command_was_found() -> None:
    kinds = [kind for kind, _ in blocks()]

    assert len(programs()) == kinds.count("python") == kinds.count("text") >= 3
    assert len(commands()) == README.count("\n$ ") >= 5
    assert all(output for _, output in [*programs(), *commands()])
    assert set(kinds) == {"python", "text", "sh", "console", *ELSEWHERE}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_what_is_shown_of_the_other_clients_stands_where_they_are_tested(kind: str) -> None:
    tested = {line.strip() for line in ELSEWHERE[kind].read_text().splitlines()}
    (shown,) = [text for found, text in blocks() if found == kind]

    assert {line.strip() for line in shown.splitlines()} <= tested


@pytest.mark.parametrize(
    ("said", "printed", "same"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("a\n", "a\nb\n", False),
        ("a … c\n", "a b c\n", True),
        ("a … c\n", "a b\nx c\n", False),
        ("a\n…\nd\n", "a\nb\nc\nd\n", True),
        ("a\n…\nd\n", "a\nb\nc\n", False),
        ("…\na\n", "a\n", True),
    ],
)
def test_an_ellipsis_stands_for_what_varies_and_for_no_more(
    said: str, printed: str, same: bool
) -> None:
    assert matches(said, printed) is same


def test_the_session_is_in_the_first_screen_and_the_two_commands_follow() -> None:
    above = README[: README.index("## What it is for")]

    assert README.index("```python") < 500
    assert above.index("```python") < above.index("make demo") < above.index("make test")


@pytest.mark.parametrize("guide", GUIDES)
def test_every_path_that_is_named_exists(guide: str) -> None:
    text = (ROOT / guide).read_text("utf-8")
    named = {name for name in re.findall(r"`([\w./-]+)`", text) if "/" in name or "." in name}
    places = [ROOT, (ROOT / guide).parent, ROOT / "protocol", ROOT / "worker/mlxwire_worker"]
    paths = {
        name for name in named if name.endswith("/") or Path(name).suffix in {".py", ".md"}
    }

    assert len(paths) >= 3
    assert not {name for name in paths if not any((place / name).exists() for place in places)}


def test_every_folder_has_its_line_and_every_script_of_bench_too() -> None:
    tracked = tracked_files()
    folders = {file.parts[0] for file in tracked if len(file.parts) > 1}
    tree = README[README.index("## The tree") : README.index("### Where to change what")]
    scripts = {file.name for file in tracked if file.match("bench/*.py")}
    bench = (ROOT / "bench/README.md").read_text("utf-8")

    assert not {name for name in folders if name[0] != "." and f"`{name}/" not in tree}
    assert not {name for name in scripts if f"`{name}`" not in bench}


def test_the_workers_options_are_these() -> None:
    section = README[README.index("### The worker's options") : README.index("## Numbers")]
    listed = set(re.findall(r"`--([a-z-]+)", section))
    singular = {"model-roots": "model-root", "data-roots": "data-root"}
    known = {name.replace("_", "-") for name in Options._fields}

    assert listed == {singular.get(name, name) for name in known} | {"version"}


def test_the_targets_and_extras_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for guide in GUIDES:
        text = (ROOT / guide).read_text("utf-8")
        targets = set(re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE))
        extras = set(re.findall(r"(?:mlxwire|\.)\[(\w+)\]", text))

        assert all(f"\n{target}:" in makefile for target in targets), targets
        assert extras <= project["optional-dependencies"].keys()
