"""The programs and commands of README, CONTRIBUTING and docs/ print what the pages say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from architecture.sources import ROOT

from .pages import PAGES, Example, blocks, commands, matches, programs, read, run

TESTED_BY_THEIR_CLIENTS = {
    "go": ROOT / "client/go/example_test.go",
    "js": ROOT / "client/typescript/README.md",
}
"""Pages show excerpts in other languages; these files hold them whole, and are tested."""


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.id)
def test_a_program_prints_what_its_page_says(program: Example) -> None:
    printed, errors = run([sys.executable, "-W", "error", "-c", program.text])

    assert matches(program.said, printed), printed
    assert errors == ""


@pytest.mark.parametrize(
    "checker", [["mypy", "--strict"], ["pyright"]], ids=["mypy", "pyright"]
)
def test_type_checkers_accept_the_programs_of_all_pages(
    checker: list[str], tmp_path: Path
) -> None:
    for number, program in enumerate(programs()):
        name = re.sub(r"\W", "_", program.page)
        (tmp_path / f"{name}_{number}.py").write_text(program.text)
    files = sorted(map(str, tmp_path.glob("*.py")))
    cache = ["--cache-dir", str(tmp_path / "cache")] if checker[0] == "mypy" else []
    where = ["--pythonpath", sys.executable] if checker[0] == "pyright" else []
    command = [str(Path(sys.executable).with_name(checker[0])), *checker[1:], *cache, *where]
    checked = subprocess.run(
        [*command, *files],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.id)
def test_a_command_prints_what_its_page_says(command: Example) -> None:
    bash = ["bash", "-c", f"set -o pipefail\n{command.text}"]
    printed, _ = run(bash, errors=subprocess.STDOUT)

    assert matches(command.said, printed), printed


@pytest.mark.parametrize("page", PAGES)
def test_every_program_and_command_of_a_page_is_found(page: str) -> None:
    kinds = [kind for kind, _ in blocks(page)]
    found_programs = [program for program in programs() if program.page == page]
    found_commands = [command for command in commands() if command.page == page]

    assert len(found_programs) == kinds.count("python") == kinds.count("text")
    assert len(found_commands) == len(re.findall(r"^ *\$ ", read(page), re.MULTILINE))
    assert all(example.said for example in [*found_programs, *found_commands])
    assert set(kinds) <= {"python", "text", "sh", "console", *TESTED_BY_THEIR_CLIENTS}


def test_the_pages_have_programs_and_commands() -> None:
    assert len(PAGES) >= 12
    assert len(programs()) >= 12
    assert len(commands()) >= 8


@pytest.mark.parametrize("kind", TESTED_BY_THEIR_CLIENTS)
def test_an_excerpt_in_another_language_stands_where_its_client_tests_it(kind: str) -> None:
    whole = TESTED_BY_THEIR_CLIENTS[kind].read_text("utf-8")
    tested = {line.strip() for line in whole.splitlines()}
    shown = [text for page in PAGES for found, text in blocks(page) if found == kind]

    assert len(shown) >= 2
    assert {line.strip() for text in shown for line in text.splitlines()} <= tested


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
