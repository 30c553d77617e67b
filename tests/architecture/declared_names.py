"""The names that each client declares to its users.

Python's by import; Go's and TypeScript's from the text of their sources, whose layout their
formatters fix: a declaration begins a line, a member stands one step further in.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import mlxwire
from architecture.sources import ROOT

GO = ROOT / "client" / "go"
TYPESCRIPT = ROOT / "client" / "typescript" / "src"


@cache
def python_names() -> frozenset[str]:
    """Return all exports of `mlxwire`, with attributes, keywords and values of Literals."""
    return frozenset(
        name for export in mlxwire.__all__ for name in _python(export, getattr(mlxwire, export))
    )


def _python(path: str, found: object) -> Iterator[str]:
    yield path
    for name in (*dir(found), *_fields(found)):
        if name.startswith("_"):
            continue
        yield f"{path}.{name}"
        yield from (f"{path}.{name}.{key}" for key in keywords(getattr(found, name, None)))
    function = found.__init__ if inspect.isclass(found) else found
    yield from (f"{path}.{key}" for key in keywords(function))


def _fields(found: object) -> Iterator[str]:
    """Yield names that only instances have, and the values of fields that are Literals."""
    if inspect.isclass(found) and issubclass(found, mlxwire.MlxwireError):
        yield from vars(found(""))
    if inspect.isclass(found):
        for name, kind in get_type_hints(found).items():
            yield name
            if get_origin(kind) is Literal:
                yield from (f"{name}.{value}" for value in get_args(kind))


def keywords(function: object) -> list[str]:
    """Return the names of a function's optional parameters, those behind ``**options`` aside."""
    if not inspect.isfunction(function):
        return []
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.default is not each.empty]


@cache
def go_names() -> frozenset[str]:
    """Return exported functions, types, constants, methods and fields of the Go packages."""
    names = set(_go(GO.glob("*.go")))
    return frozenset(names | {f"inference.{name}" for name in _go(GO.glob("inference/*.go"))})


def _go(files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        if file.name.endswith("_test.go"):
            continue
        text = file.read_text("utf-8")
        yield from re.findall(r"^(?:func|type) ([A-Z]\w*)", text, re.MULTILINE)
        for block in re.findall(r"^type \(\n(.*?)^\)", text, re.MULTILINE | re.DOTALL):
            yield from re.findall(r"^\t([A-Z]\w*) = ", block, re.MULTILINE)
        for block in re.findall(r"^const \(\n(.*?)^\)", text, re.MULTILINE | re.DOTALL):
            yield from re.findall(r"^\t([A-Z]\w*)", block, re.MULTILINE)
        method = r"^func \((?:\w+ )?\*?(\w+)(?:\[\w+\])?\) ([A-Z]\w*)"
        yield from (f"{kind}.{name}" for kind, name in re.findall(method, text, re.MULTILINE))
        struct = r"^type (\w+)(?:\[\w+ \w+\])? (?:struct|interface) \{\n(.*?)^\}"
        for kind, body in re.findall(struct, text, re.MULTILINE | re.DOTALL):
            for names in re.findall(r"^\t([A-Z]\w*(?:, [A-Z]\w*)*)", body, re.MULTILINE):
                yield from (f"{kind}.{name}" for name in names.split(", "))


MEMBER = re.compile(
    r"^  (?:(?:public|readonly|static|override|async|get|abstract) )*\*?(\w+)[?!]?(?=[(<:; ])",
    re.MULTILINE,
)


@cache
def typescript_names() -> frozenset[str]:
    """Return the exports of `index.ts`, with the members of each class and its bases."""
    own: dict[str, set[str]] = {}
    behind: dict[str, set[str]] = {}
    for file in TYPESCRIPT.rglob("*.ts"):
        for name, heritage, members in _declarations(_bare(file)):
            own.setdefault(name, set()).update(members)
            behind.setdefault(name, set()).update(re.findall(r"\w+", heritage))

    def members(name: str, above: frozenset[str]) -> set[str]:
        bases = (behind[name] & own.keys()) - above - {name}
        return own[name].union(*(members(base, above | {name}) for base in bases))

    exported = _exports(TYPESCRIPT / "index.ts")
    return frozenset(exported).union(
        f"{name}.{member}"
        for name in exported & own.keys()
        for member in members(name, frozenset())
    )


def _exports(file: Path) -> set[str]:
    """Return a module's exports: its own, those of others, and `space.name` of `* as space`."""
    text = _bare(file)
    declared = r"^export (?:abstract )?(?:async )?(?:class|function|interface|type|const) (\w+)"
    names = set(re.findall(declared, text, re.MULTILINE))
    for listed in re.findall(r"^export (?:type )?\{(.*?)\}", text, re.MULTILINE | re.DOTALL):
        names.update(part.split()[-1] for part in listed.split(",") if part.strip())
    for space, module in re.findall(r'export \*(?: as (\w+))? from "\./([\w/]+)\.js"', text):
        prefix = f"{space}." if space else ""
        names.update(prefix + name for name in _exports(TYPESCRIPT / f"{module}.ts"))
    return names


def _declarations(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield name, heritage and own members of each class, interface, alias and table."""
    block = r"^export (?:abstract )?(?:class|interface) (\w+)([^{]*)\{(?:\n(.*?)^)?\}$"
    for name, heritage, body in re.findall(block, text, re.MULTILINE | re.DOTALL):
        yield name, heritage, MEMBER.findall(body)
    for name, meaning in re.findall(
        r"^export type (\w+)\b(.*?);$", text, re.MULTILINE | re.DOTALL
    ):
        yield name, meaning, re.findall(r'"(\w+)"', meaning)
    # The shapes of replies: their keys are the wire's, and the types derived from them camelCase.
    for name, body in re.findall(
        r"^export const ([A-Z_]+) = \{(.*?)\};$", text, re.MULTILINE | re.DOTALL
    ):
        yield name, body, [camel_case(key) for key in re.findall(r"(\w+): ", body)]


def _bare(file: Path) -> str:
    """Return a file's text without its comments."""
    return re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", file.read_text("utf-8"), flags=re.DOTALL)


def camel_case(name: str) -> str:
    """Return a name of the wire as TypeScript writes it."""
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


NAMES: dict[str, Callable[[], frozenset[str]]] = {
    "Python": python_names,
    "Go": go_names,
    "TypeScript": typescript_names,
}
