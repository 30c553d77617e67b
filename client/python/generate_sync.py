"""Write the blocking client, `mlxwire.sync`, from the signatures of the asyncio client.

    python client/python/generate_sync.py            write the files
    python client/python/generate_sync.py --check    fail if they are not up to date

Each public method and property becomes one call into the background thread that runs the asyncio
client. Signatures and docstrings are copied, so that type checkers and editors see them. What
blocks in a way of its own is written by hand: `loop_thread`, `base`, `stream` and `training`.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent / "mlxwire"
SYNC = PACKAGE / "sync"


class Face(NamedTuple):
    """One class to write: its name, and its module in the package, as a path."""

    name: str
    module: str
    title: str
    base: str = "ThreadUser"
    held: tuple[str, str] = ("", "")
    """Name and module of the asyncio class that it holds, if that is another one."""

    @property
    def owns_thread(self) -> bool:
        """Return True for a class that starts a thread of its own."""
        return self.base in ("ThreadOwner", "FolderRequests")


FACES = (
    Face(
        "FolderRequests",
        "folders/folder_requests",
        "The requests about models on disk, blocking.",
        base="ThreadOwner",
        held=("Worker", "worker"),
    ),
    Face("Worker", "worker", "A worker, blocking.", base="FolderRequests"),
    Face(
        "Pool", "pool/pool", "Several workers behind one object, blocking.", base="ThreadOwner"
    ),
    Face(
        "Answers",
        "answers",
        "The requests whose answer is text, blocking.",
        held=("Model", "model"),
    ),
    Face(
        "TextRequests",
        "texts/text_requests",
        "The requests about texts as such, blocking.",
        base="Answers",
        held=("Model", "model"),
    ),
    Face("Model", "model", "A loaded model, blocking.", base="TextRequests"),
    Face("PromptCache", "cache", "The prompt cache of a loaded model, blocking."),
)
WRAPPED = {
    "Model": ".model",
    "PromptCache": ".cache",
    **dict.fromkeys(("TokenStream", "BatchStream", "ParsedStream", "ParsedBatch"), ".stream"),
    **dict.fromkeys(
        ("ClassifyStream", "EmbeddingStream", "ScoreStream", "DiscoverStream"), ".stream"
    ),
    "Training": ".training",
    **dict.fromkeys(("wrap_tokens", "wrap_batch"), ".stream"),
}
"""Types that a blocking method returns in their blocking form, and where that is."""
WRAPPERS = {
    "TokenStream": "wrap_tokens",
    "BatchStream | ParsedBatch[Any]": "wrap_batch",
}
"""The functions that choose among several blocking forms."""
BY_HAND = {"start", "close"}
"""Methods of a class that owns a thread, which `base` has."""
WORDS = (
    ("``async with mlxwire.", "``with mlxwire.sync."),
    ("``async with``", "``with``"),
    ("by several tasks", "by several threads"),
    ("awaited, it gives", "`results` gives"),
    (
        "A worker belongs to the event loop that it was started on.",
        "Callbacks run on a background thread. Any thread may use the worker.",
    ),
)
"""Words of the asyncio client's docstrings, and what the blocking client says instead."""
FORBIDDEN_WORDS = ("async ", "await", "event loop", "coroutine", "task")
NOTE = "# Written by generate_sync.py from {source}: change that file, then run the script.\n"


class Source:
    """The module that a face is written from."""

    def __init__(self, face: Face) -> None:
        self.face = face
        self.path = PACKAGE / f"{face.module}.py"
        self.tree = ast.parse(self.path.read_text("utf-8"))
        self.name = face.module.replace("/", ".")
        self.kind = next(
            node
            for node in self.tree.body
            if isinstance(node, ast.ClassDef) and node.name == face.name
        )

    def methods(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Yield the public methods and properties, and `__init__`."""
        for node in self.kind.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                not node.name.startswith("_") or node.name == "__init__"
            ):
                yield node

    def imports(self, used: set[str]) -> Iterator[str]:
        """Yield the imports of the names that the written text uses."""
        package = self.face.module.split("/")[:-1]
        for node in self.tree.body:
            if not isinstance(node, ast.ImportFrom) or node.module == "__future__":
                continue
            module = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                module = ".." + ".".join([*above, module])
            for alias in node.names:
                if alias.name in used - WRAPPED.keys() - {self.face.base}:
                    yield f"from {module} import {alias.name}"
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and node.name in used - {self.face.name}:
                yield f"from ..{self.name} import {node.name}"
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                constant = node.targets[0].id
                if constant in used:
                    yield f"from ..{self.name} import {constant}"
        if any(
            isinstance(node, ast.Import) and node.names[0].name == "os"
            for node in self.tree.body
        ):
            yield "import os"
        yield from (f"from {WRAPPED[name]} import {name}" for name in used & WRAPPED.keys())


def write_face(face: Face) -> str:
    """Return the text of one face's module."""
    source = Source(face)
    held, module = face.held if face.held[0] else (face.name, source.name)
    generic = face.base in ("ThreadOwner", "ThreadUser")
    base = f"{face.base}[Async{held}]" if generic else face.base
    body = "\n\n".join(_method(face, node) for node in source.methods() if _wanted(face, node))
    if not face.owns_thread and _has(source.kind, "__aexit__"):
        body += "\n\n" + _indented(
            "def __enter__(self) -> Self:\n    return self\n\n"
            "def __exit__(self, *_: object) -> None:\n    self.close()"
        )
    doc = _docstring(source.kind, 4)
    text = f"class {face.name}({base}):\n{doc}\n\n{body}\n"
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    used -= {face.name}
    lines = [
        f'"""{face.title}"""\n',
        NOTE.format(source=source.path.relative_to(PACKAGE.parent)),
        "from __future__ import annotations\n",
        "import contextlib",
        "from typing import Self",
        f"from ..{module} import {held} as Async{held}",
        f"from .base import LEFT_ALONE, {face.base if generic else 'ThreadUser'}",
        *([] if generic else [f"from .{_module_of(face.base)} import {face.base}"]),
        *source.imports(used),
        f"\n\n{text}",
    ]
    return _formatted("\n".join(lines), SYNC / f"{face.module.split('/')[0]}.py")


def _module_of(face: str) -> str:
    """Return the written module of a face."""
    return next(each.module.split("/")[-1] for each in FACES if each.name == face)


def _wanted(face: Face, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return node.name not in (BY_HAND if face.owns_thread else {"__init__"})


def _has(kind: ast.ClassDef, name: str) -> bool:
    return any(isinstance(n, ast.AsyncFunctionDef) and n.name == name for n in kind.body)


def _method(face: Face, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    given = _arguments(node.args)
    returns = ast.unparse(node.returns) if node.returns else "None"
    head = f"def {node.name}({ast.unparse(node.args)}) -> {returns}:"
    if node.name == "__init__":
        call = f"super().__init__(Async{face.name}({given}))"
        return _indented(f"{head}\n    {call}")
    decorators = {ast.unparse(each) for each in node.decorator_list}
    if "overload" in decorators:
        return _indented(f"@overload\n{head} ...")
    doc = _docstring(node, 4)
    target = f"self._aio.{node.name}"
    if decorators:
        body = f"return {_wrapped(returns, target)}"
        head = f"@property\n{head}"
    elif isinstance(node, ast.FunctionDef):
        body = f"return {_wrapped(returns, f'{target}({given})')}"
    elif node.name == "close":
        body = f"with contextlib.suppress(*LEFT_ALONE):\n    self._thread.call({target}())"
    else:
        call = f"self._thread.call({target}({given}))"
        body = call if returns == "None" else f"return {_wrapped(returns, call)}"
    return _indented(f"{head}\n{doc}\n{_indented(body)}")


def _wrapped(returns: str, value: str) -> str:
    if returns not in WRAPPED and returns not in WRAPPERS:
        return value
    return f"{WRAPPERS.get(returns, returns)}(self._thread, {value})"


def _arguments(parameters: ast.arguments) -> str:
    """Return the call's arguments that hand every parameter on."""
    positional = [each.arg for each in parameters.args if each.arg != "self"]
    keywords = [f"{each.arg}={each.arg}" for each in parameters.kwonlyargs]
    rest = [f"**{parameters.kwarg.arg}"] if parameters.kwarg else []
    return ", ".join([*positional, *keywords, *rest])


def _docstring(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, indent: int) -> str:
    doc = ast.get_docstring(node)
    if doc is None:
        raise SystemExit(f"`{node.name}` has no docstring: write one")
    for ours, theirs in WORDS:
        doc = doc.replace(ours, theirs)
    for word in FORBIDDEN_WORDS:
        if word in doc:
            raise SystemExit(
                f"the docstring of `{node.name}` has the word {word.strip()!r}, which means nothing "
                "to a blocking program: change it, or add a replacement to WORDS"
            )
    lines = doc.splitlines()
    closing = '"""' if len(lines) == 1 else '\n"""'
    return _indented(f'"""{doc}{closing}', indent)


def _indented(text: str, indent: int = 4) -> str:
    return "\n".join(" " * indent + line if line else "" for line in text.splitlines())


def _formatted(text: str, path: Path) -> str:
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--fix", "--quiet", "--select", "F401,I"], ["format", "--quiet"]):
        done = subprocess.run(
            [*ruff, *command, "--stdin-filename", str(path), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"ruff can't format {path.name}: {done.stderr or done.stdout}")
        text = done.stdout
    return text


def main() -> None:
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if out of date"
    )
    check = parser.parse_args().check
    stale = False
    for face in FACES:
        path = SYNC / f"{face.module.split('/')[-1]}.py"
        text = write_face(face)
        before = path.read_text("utf-8") if path.exists() else ""
        if text == before:
            continue
        stale = True
        if check:
            lines = before.splitlines(True), text.splitlines(True)
            sys.stdout.writelines(difflib.unified_diff(*lines, str(path), "as it should be"))
        else:
            path.write_text(text, "utf-8")
    if check and stale:
        raise SystemExit(
            "mlxwire.sync is out of date: run python client/python/generate_sync.py"
        )


if __name__ == "__main__":
    main()
