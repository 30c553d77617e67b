"""SECURITY.md claims nothing that has no test: what it names exists."""

from __future__ import annotations

import ast
import re

from architecture.sources import ROOT

TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", TEXT)))
SECTIONS = (
    "Reach",
    "The wire",
    "Secrecy",
    "Prompts",
    "Model folders",
    "Modules and programs",
    "Files that are written",
    "Surroundings",
    "Chat templates",
    "Death",
)


def missing(named: list[tuple[str, str]]) -> list[str]:
    """Return those that name no test file, or no test of one."""
    return [f"{file}::{test}" for file, test in named if not exists(file, test)]


def exists(file: str, test: str) -> bool:
    path = ROOT / "tests" / file
    if not path.is_file():
        return False
    body = ast.parse(path.read_text("utf-8")).body
    names = {
        node.name
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }
    return bool(names) and (not test or test in names)


def test_every_test_that_is_named_exists() -> None:
    assert len(NAMED) > 20
    assert not missing(NAMED)


def test_one_that_does_not_exist_is_found() -> None:
    named = [
        ("security/test_claims.py", "test_every_test_that_is_named_exists"),
        ("security/test_claims.py", "test_gone"),
        ("security/test_gone.py", ""),
        ("security/hostile.py", ""),
    ]

    assert len(missing(named)) == 3


def test_every_claim_names_a_test() -> None:
    claims = TEXT[TEXT.index("## What is defended") : TEXT.index("## What is not defended")]
    sections = {part.split(".", 1)[0].split("**")[0]: part for part in claims.split("\n**")[1:]}

    assert {name for name in SECTIONS if f"**{name}" not in claims} == set()
    assert [name for name, part in sections.items() if "/test_" not in part] == []


def test_every_file_of_security_tests_is_named() -> None:
    files = {f"security/{file.name}" for file in ROOT.glob("tests/security/test_*.py")}

    assert files - {file for file, _ in NAMED} == set()
