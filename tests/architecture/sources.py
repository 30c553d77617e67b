"""The packages' sources, and what each imports."""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.repository import ROOT

PACKAGES = {
    "mlxwire_protocol": ROOT / "protocol/mlxwire_protocol",
    "mlxwire_worker": ROOT / "worker/mlxwire_worker",
    "mlxwire": ROOT / "client/python/mlxwire",
}


class Module(NamedTuple):
    """One source file."""

    name: str
    source: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)


class Import(NamedTuple):
    """``target`` is the module, or the module's member: `from a import b` is `a.b`."""

    target: str
    at_import: bool
    """It runs when the module is imported: not in a function, not for type checkers alone."""

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]


def modules() -> list[Module]:
    """Return every source file of the three packages."""
    return [
        Module(
            ".".join([package, *file.relative_to(folder).with_suffix("").parts]).removesuffix(
                ".__init__"
            ),
            file.read_text("utf-8"),
            file.name == "__init__.py",
        )
        for package, folder in PACKAGES.items()
        for file in sorted(folder.rglob("*.py"))
    ]


def imports(module: Module) -> Iterator[Import]:
    """Yield every import of a module, with relative ones made absolute."""
    yield from _imports(module, module.tree, True)


def _imports(module: Module, node: ast.AST, at_import: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, at_import) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        source = _source(module, node)
        yield from (Import(f"{source}.{alias.name}", at_import) for alias in node.names)
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for child in ast.iter_child_nodes(node):
        yield from _imports(module, child, at_import and not function and not typing_only)


def _source(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return str(node.module)
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def tracked_files() -> list[Path]:
    """Return the paths that git tracks, relative to the repository. Skips the test without git."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout: what is tracked is not known")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()]
