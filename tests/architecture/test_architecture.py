"""Rules for imports, exports, the length of files, and names that no file may contain.

The rules are in `architecture/rules.py`; here they are kept, and each is shown to fail.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

import pytest

from architecture.rules import (
    EXPORTING,
    LIGHT_AT_IMPORT,
    MOST_FILES,
    MOST_LINES,
    SCHEMA,
    climbing_imports,
    command_line_outside_cli,
    crossed_ends,
    crowded,
    engine_in_output,
    foreign_names,
    heavy_at_import,
    impure_protocol,
    mlx_outside_its_engine,
    riddles,
    too_long,
    undeclared,
    unexplained,
    wire_messages_in_the_engine,
    wrong_exports,
)
from architecture.sources import ROOT, Module, modules, tracked_files

RULES: list[Callable[[list[Module]], Iterator[str]]] = [
    impure_protocol,
    crossed_ends,
    mlx_outside_its_engine,
    wire_messages_in_the_engine,
    engine_in_output,
    command_line_outside_cli,
    climbing_imports,
    heavy_at_import,
    undeclared,
    wrong_exports,
    too_long,
    unexplained,
    crowded,
    riddles,
]
DOC = '"""The framing of lines."""\n'
BAD: list[tuple[Callable[[list[Module]], Iterator[str]], str, str]] = [
    (impure_protocol, "mlxwire_protocol.framing", "import time"),
    (impure_protocol, "mlxwire_protocol.codec", "def f():\n    import asyncio"),
    (impure_protocol, "mlxwire_protocol.codec", "from mlxwire import Worker"),
    (impure_protocol, "mlxwire_protocol.codec", "import sys"),
    (impure_protocol, "mlxwire_protocol.codec", "print(1)"),
    (
        crossed_ends,
        "mlxwire_worker.requests.conversation",
        "from mlxwire.errors import MlxwireError",
    ),
    (
        crossed_ends,
        "mlxwire.worker",
        "def f():\n    import mlxwire_worker.requests.conversation",
    ),
    (mlx_outside_its_engine, "mlxwire_worker.scheduling.scheduler", "import mlx.core as mx"),
    (mlx_outside_its_engine, "mlxwire_worker.engine", "from safetensors import safe_open"),
    (mlx_outside_its_engine, "mlxwire_worker.mock.engine", "from ..mlx_engine import kv"),
    (mlx_outside_its_engine, "mlxwire.worker", "def f():\n    import mlx_lm"),
    (
        wire_messages_in_the_engine,
        "mlxwire_worker.mlx_engine.loading",
        "from mlxwire_protocol.messages import Load",
    ),
    (
        wire_messages_in_the_engine,
        "mlxwire_worker.training.data",
        "from mlxwire_protocol.messages import Train",
    ),
    (wire_messages_in_the_engine, "mlxwire_worker.prompts", "import mlxwire_protocol.messages"),
    (engine_in_output, "mlxwire_worker.output.text", "from ..engine import Engine"),
    (command_line_outside_cli, "mlxwire.worker", "from rich.console import Console"),
    (command_line_outside_cli, "mlxwire.sync.worker", "from ..cli import main"),
    (climbing_imports, "mlxwire.process.pipes", "from ..requests.pending import ask"),
    (climbing_imports, "mlxwire.requests.pending", "def f():\n    from .. import connection"),
    (climbing_imports, "mlxwire.pool.pool", "from ..sync import Worker"),
    (heavy_at_import, "mlxwire_worker.mlx_engine.engine", "import mlx.core as mx"),
    (heavy_at_import, "mlxwire", "try:\n    import rich\nexcept ImportError:\n    pass"),
    (undeclared, "mlxwire.worker", "import tokenizers"),
    (undeclared, "mlxwire_worker.mlx_engine.cache.kv", "import requests"),
    (wrong_exports, "mlxwire.sync", "from .worker import Worker\n__all__ = []"),
    (wrong_exports, "mlxwire.sync", "from .worker import A\n__all__ = ['A', 'Gone']"),
    (wrong_exports, "mlxwire.sync", "from .worker import A, B\n__all__ = ['B', 'A']"),
    (too_long, "mlxwire.worker", "\n" * MOST_LINES),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_packages_keep_the_rule(rule: Callable[[list[Module]], Iterator[str]]) -> None:
    assert sorted(rule(modules())) == [], rule.__doc__


@pytest.mark.parametrize(
    ("rule", "name", "source"), BAD, ids=[f"{rule.__name__}-{name}" for rule, name, _ in BAD]
)
def test_a_module_that_breaks_the_rule_is_found(
    rule: Callable[[list[Module]], Iterator[str]], name: str, source: str
) -> None:
    package = name in EXPORTING
    bad = Module(name, DOC + source + "\n", package)

    assert len(list(rule([bad]))) == 1
    assert not list(rule([Module(name, DOC, package)])) or rule is too_long


@pytest.mark.parametrize(
    "source", ["", "import re", '"""One\ntwo\nthree\nfour\nfive\nsix.\n\nMore."""']
)
def test_a_module_that_does_not_say_what_it_is_for_is_found(source: str) -> None:
    assert list(unexplained([Module("mlxwire.x", source)]))


def test_a_docstring_without_a_subject_is_found() -> None:
    source = (
        DOC + 'def f():\n    """What there is."""\n\n@property\ndef g():\n    """Whether."""\n'
    )

    assert list(riddles([Module("mlxwire.x", source)])) == [
        "mlxwire.x: a docstring opens with 'What'"
    ]


def test_a_crowded_folder_is_found() -> None:
    folder = [Module(f"mlxwire.rooms.room{n}", DOC) for n in range(MOST_FILES + 1)]

    assert list(crowded(folder)) == [f"mlxwire.rooms has {MOST_FILES + 1} files: divide it"]
    assert not list(crowded(folder[1:]))


def test_what_a_start_imports_is_followed_through_other_modules() -> None:
    sources = [
        Module("mlxwire", DOC + "from .a import f\n", True),
        Module("mlxwire.a", DOC + "from . import b\n\ndef g():\n    import rich\n"),
        Module("mlxwire.b", DOC + "import typer\n"),
    ]

    assert list(heavy_at_import(sources)) == [
        "mlxwire: mlxwire -> mlxwire.a -> mlxwire.b -> typer"
    ]
    sources[2] = Module("mlxwire.b", DOC + "if TYPE_CHECKING:\n    import typer\n")
    assert not list(heavy_at_import(sources))


def test_every_rule_has_been_seen_to_fail_and_every_listed_module_exists() -> None:
    names = {module.name for module in modules()}

    assert {rule for rule, _, _ in BAD} | {unexplained, crowded, riddles} == set(RULES)
    assert {*LIGHT_AT_IMPORT, *EXPORTING, SCHEMA} <= names


@pytest.mark.parametrize("package", [name for name in EXPORTING if "mlx_engine" not in name])
def test_what_is_exported_is_there(package: str) -> None:
    module = importlib.import_module(package)

    assert all(hasattr(module, name) for name in module.__all__)


# -- every tracked file ------------------------------------------------------------------


def test_tracked_files_name_no_machine_and_no_registry() -> None:
    files = tracked_files()

    assert len(files) > 100
    assert not {
        str(file): found
        for file in files
        if (found := foreign_names((ROOT / file).read_text("utf-8", errors="replace")))
    }


@pytest.mark.parametrize(
    "parts",
    [
        ("", "home", "me", "models"),
        ('"', "Users", "me"),
        ("https:", "", "pypi" + ".org", "simple"),
        ("pip install --index-" + "url x",),
    ],
)
def test_a_machine_path_or_a_registry_is_found(parts: tuple[str, ...]) -> None:
    assert foreign_names("see " + "/".join(parts))
    assert not foreign_names("see a/home/x, ~/work/x, ../root/x and https://example.org/home/x")
