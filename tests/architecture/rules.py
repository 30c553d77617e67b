"""The rules, each a function from sources to complaints, so that each can be shown to fail."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator

from .sources import PACKAGES, ROOT, Module, imports, within

PROTOCOL_IMPORTS = {
    *("__future__", "collections", "functools", "importlib", "re", "typing"),
    *("json", "msgspec", "orjson", "mlxwire_protocol"),
}
"""Nothing that reads, writes, waits or tells the time: the core is sans-IO."""
SCHEMA = "mlxwire_protocol.schema"
"""The one file of it that is a program too: it prints the schema."""
OUTSIDE_WORLD = {"open", "print", "input"}
HEAVY = {
    *("mlx", "mlx_lm", "tokenizers", "safetensors", "transformers", "huggingface_hub"),
    *("numpy", "jinja2", "torch"),
}
"""The packages of `[mlx]`, which are slow to import."""
COMMAND_LINE = {"typer", "rich", "click"}
LIGHT_AT_IMPORT = {
    "mlxwire_worker.__main__": HEAVY | COMMAND_LINE | {"asyncio", "argparse"},
    "mlxwire_worker.serving": HEAVY | COMMAND_LINE,
    "mlxwire_worker.mlx_engine": HEAVY | COMMAND_LINE,
    "mlxwire_worker.mlx_engine.engine": HEAVY | COMMAND_LINE,
    "mlxwire": HEAVY | COMMAND_LINE,
    "mlxwire.sync": HEAVY | COMMAND_LINE,
    "mlxwire.cli": HEAVY | COMMAND_LINE,
}
"""Module: what its import may not bring along, not even through others."""
CLIENT_FOLDERS = [
    "typed",
    "process",
    "requests",
    "connection",
    "restart",
    "pool",
    "sync",
    "cli",
]
"""Folders of the Python client, from the lowest up."""
EXPORTING = ["mlxwire_protocol", "mlxwire_worker.mlx_engine", "mlxwire", "mlxwire.sync"]
DISTRIBUTIONS = {
    "jsonschema_rs": "jsonschema-rs",
    "mlx_lm": "mlx-lm",
    # mlx-lm's own requirements, which `light_import` keeps away and `tokenizer` may need.
    "transformers": "mlx-lm",
    "huggingface_hub": "mlx-lm",
}
OVER_MLX = ("mlx_engine", "training", "conversion", "hub")
"""The packages of the worker that use those of `[mlx]`."""
ENGINE_SIDE = ("engine", "prompts", *OVER_MLX)
OUTPUT_KNOWS = ("mlxwire_worker.output", "mlxwire_worker.prompts")
MOST_FILES = 15
"""The most files in one folder, without its `__init__`."""
MOST_LINES = 300
DOCSTRING_LINES = 5
RIDDLE = re.compile(r"(?:What|Whether|How|It|Of|As|Who|Whoever|Where|Until|Nothing)\b")
FORBIDDEN_TEXT = re.compile(
    r"(?<![\w.~$])/(?:root|home|Users|work)/\w"
    r"|\b(?:pypi\.org|pythonhosted\.org|npmjs\.org|proxy\.golang\.org|anaconda\.org)\b"
    r"|--?(?:extra-)?index-url|--(?:trusted-host)"
)
"""Paths of somebody's machine, and hosts of package registries."""


def impure_protocol(sources: list[Module]) -> Iterator[str]:
    """Yield each place where the protocol's core does I/O or knows one of the two ends."""
    for module in sources:
        if not within(module.name, "mlxwire_protocol"):
            continue
        allowed = PROTOCOL_IMPORTS | ({"sys", "inspect"} if module.name == SCHEMA else set())
        yield from (f"{module.name}: {i}" for i in imports(module) if i.top not in allowed)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Name) and node.id in OUTSIDE_WORLD:
                yield f"{module.name}: {node.id}()"


def crossed_ends(sources: list[Module]) -> Iterator[str]:
    """Yield each import between worker and client, and each import of the tests by either."""
    others = {"mlxwire_worker": "mlxwire", "mlxwire": "mlxwire_worker"}
    for module in sources:
        top = module.name.partition(".")[0]
        for found in imports(module):
            if found.top in {others.get(top), "tests", "testdata", "bench"}:
                yield f"{module.name}: {found.target}"


def mlx_outside_its_engine(sources: list[Module]) -> Iterator[str]:
    """Yield each import of `[mlx]` outside the programs over it, and of the engine outside `serving`."""
    for module in sources:
        if any(within(module.name, f"mlxwire_worker.{name}") for name in OVER_MLX):
            continue
        for found in imports(module):
            engine = within(found.target, "mlxwire_worker.mlx_engine")
            if found.top in HEAVY or (engine and module.name != "mlxwire_worker.serving"):
                yield f"{module.name}: {found.target}"


def wire_messages_in_the_engine(sources: list[Module]) -> Iterator[str]:
    """Yield each import of a wire message by an engine: the operations translate requests."""
    for module in sources:
        if any(within(module.name, f"mlxwire_worker.{name}") for name in ENGINE_SIDE):
            for found in imports(module):
                if within(found.target, "mlxwire_protocol.messages"):
                    yield f"{module.name}: {found.target}"


def engine_in_output(sources: list[Module]) -> Iterator[str]:
    """Yield each import of `output` beyond prompts and detokenizers, such as one of an engine."""
    for module in sources:
        if within(module.name, "mlxwire_worker.output"):
            for found in imports(module):
                own = found.top == "mlxwire_worker"
                if own and not any(within(found.target, name) for name in OUTPUT_KNOWS):
                    yield f"{module.name}: {found.target}"


def command_line_outside_cli(sources: list[Module]) -> Iterator[str]:
    """Yield each import by the library of the command line or of the package that draws it."""
    for module in sources:
        if within(module.name, "mlxwire.cli"):
            continue
        for found in imports(module):
            if found.top in COMMAND_LINE or within(found.target, "mlxwire.cli"):
                yield f"{module.name}: {found.target}"


def climbing_imports(sources: list[Module]) -> Iterator[str]:
    """A folder of the Python client imports only itself and the folders below it."""
    height = {folder: number for number, folder in enumerate(CLIENT_FOLDERS)}
    for module in sources:
        own = height.get(_client_folder(module.name), len(height))
        for found in imports(module):
            if height.get(_client_folder(found.target), 0) > own:
                yield f"{module.name}: {found.target}"


def _client_folder(name: str) -> str:
    """Return the folder of the Python client that a module is in; empty for any other."""
    parts = name.split(".")
    return parts[1] if parts[0] == "mlxwire" and len(parts) > 1 else ""


def heavy_at_import(sources: list[Module]) -> Iterator[str]:
    """Yield each heavy package that is imported before `hello`, or by every host."""
    known = {module.name: module for module in sources}
    for start, heavy in LIGHT_AT_IMPORT.items():
        if start in known:
            for name, path in _reached(known, start).items():
                if name in heavy:
                    yield f"{start}: {' -> '.join([*path, name])}"


def _reached(known: dict[str, Module], start: str) -> dict[str, list[str]]:
    """Return every module that an import of ``start`` imports, with the modules in between."""
    ways: dict[str, list[str]] = {}
    waiting: list[tuple[str, list[str]]] = [(start, [])]
    while waiting:
        name, path = waiting.pop()
        # A member's name leads to its module, and a module's to the packages above it.
        parts = name.split(".")
        for above in [".".join(parts[:end]) for end in range(1, len(parts) + 1)]:
            if above in ways:
                continue
            ways[above] = path
            if above in known:
                found = [i.target for i in imports(known[above]) if i.at_import]
                waiting += [(target, [*path, above]) for target in found]
    return ways


def undeclared(sources: list[Module]) -> Iterator[str]:
    """Yield each third-party import that is no declared requirement of the base, or of `[mlx]`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    base = _names(project["dependencies"])
    extra = base | _names(project["optional-dependencies"]["mlx"])
    for module in sources:
        engine = any(within(module.name, f"mlxwire_worker.{name}") for name in OVER_MLX)
        for found in imports(module):
            if found.top in sys.stdlib_module_names or found.top in PACKAGES:
                continue
            if DISTRIBUTIONS.get(found.top, found.top) not in (extra if engine else base):
                yield f"{module.name}: {found.target}"


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements}


def wrong_exports(sources: list[Module]) -> Iterator[str]:
    """Yield each difference between the public names of an `__init__` and its sorted `__all__`."""
    for module in sources:
        if module.name in EXPORTING:
            bound, exported = _bound(module.tree), _exported(module.tree)
            public = {name for name in bound if not name.startswith("_")}
            named = {name for name in exported if not name.startswith("_")}
            yield from (f"{module.name}: {name} is not in __all__" for name in public - named)
            yield from (f"{module.name}: {name} is nowhere" for name in set(exported) - bound)
            if exported != sorted(exported, key=_order):
                yield f"{module.name}: __all__ is not sorted"


def _bound(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) or (
            isinstance(node, ast.ImportFrom) and node.module not in {"__future__", "typing"}
        ):
            names |= {alias.asname or alias.name for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names - _local(tree)


def _local(tree: ast.Module) -> set[str]:
    """Return the names that functions import for themselves."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {
        alias.asname or alias.name
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def _exported(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _order(name: str) -> tuple[int, str]:
    """Return the key by which ruff sorts names: constants, classes, functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def too_long(sources: list[Module]) -> Iterator[str]:
    """Yield each file that passes 300 lines: such a file has two concepts in it."""
    for module in sources:
        count = module.source.count("\n")
        if count > MOST_LINES:
            yield f"{module.name} has {count} lines: split it"


def riddles(sources: list[Module]) -> Iterator[str]:
    """A docstring names its subject: it does not open with a clause about a situation."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for module in sources:
        for node in ast.walk(module.tree):
            if not isinstance(node, documented):
                continue
            opening = RIDDLE.match(ast.get_docstring(node) or "")
            is_property = "property" in {
                ast.unparse(each) for each in getattr(node, "decorator_list", [])
            }
            if opening and not (is_property and opening[0] == "Whether"):
                yield f"{module.name}: a docstring opens with {opening[0]!r}"


def crowded(sources: list[Module]) -> Iterator[str]:
    """Yield each folder with too many files: such a folder has more than one concern in it."""
    folders = Counter(
        module.name.rpartition(".")[0] for module in sources if not module.is_package
    )
    for folder, count in folders.items():
        if count > MOST_FILES:
            yield f"{folder} has {count} files: divide it"


def unexplained(sources: list[Module]) -> Iterator[str]:
    """Yield each module that does not open with its purpose in at most five lines."""
    for module in sources:
        opening = (ast.get_docstring(module.tree) or "").split("\n\n")[0]
        if not opening:
            yield f"{module.name} has no docstring"
        elif opening.count("\n") >= DOCSTRING_LINES:
            yield f"{module.name} takes {opening.count(chr(10)) + 1} lines to say what it is for"


def foreign_names(text: str) -> list[str]:
    """Return the parts of a text that no tracked file may contain."""
    return [found.group() for found in FORBIDDEN_TEXT.finditer(text)]
