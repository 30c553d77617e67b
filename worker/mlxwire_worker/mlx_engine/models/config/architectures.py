"""Finds the module of mlx-lm that serves an architecture, by the files of its package.

Nothing is imported, so that folders can be described where no model is to be loaded.
"""

from __future__ import annotations

import ast
import json
import os
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...encoders.families import FAMILIES, is_encoder
from ...importing import not_installed
from ..model_files import failed, quoted, unsupported
from ..unserved import check_served

_MODEL_TYPE = re.compile(r"[A-Za-z0-9_\-]+")
_CLASSES = frozenset({"Model", "ModelArgs"})


def check_architecture(config: dict[str, Any]) -> None:
    """Check that a config names an encoder, or an architecture that mlx-lm has a module for.

    Raises: WireError ``model_load_failed`` or ``unsupported_model``.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise failed(
            "no_model_type",
            "config.json has no `model_type`; copy it again from the model's source",
            file="config.json",
        )
    classes = config.get("architectures") or []
    if not isinstance(classes, str | list) or not all(
        isinstance(each, str) for each in classes
    ):
        raise failed(
            "invalid_config",
            f"`architectures` in config.json is {quoted(json.dumps(classes))[:80]}; it has to be a "
            "list of names. Copy config.json again from the model's source",
            file="config.json",
            field="architectures",
        )
    if is_encoder(config):
        return
    check_served(model_type)
    module = module_of(config)
    if module is None or not _names_in(module) >= _CLASSES:
        raise unsupported(
            "unknown_architecture",
            f"neither mlx-lm nor the worker's encoders know the architecture {model_type[:80]!r}; use "
            f"another model: an encoder of the types {', '.join(FAMILIES)}, or a causal model that "
            "mlx-lm knows (a newer mlx-lm may know this one)",
            model_type=model_type[:80],
        )


def module_of(config: dict[str, Any]) -> Path | None:
    """Return the file of mlx-lm's module for a config, as mlx-lm chooses it; None if it has none.

    Raises: WireError ``model_load_failed`` if mlx-lm is not installed.
    """
    package = _package()
    model_type: str = config["model_type"]
    listed = config.get("architectures") or ()
    classes = (listed,) if isinstance(listed, str) else listed
    by_type, by_class = _replacements(package / "utils.py")
    module = next(
        (
            by_class[model_type, each]
            for each in (classes if isinstance(classes, list | tuple) else ())
            if isinstance(each, str) and (model_type, each) in by_class
        ),
        by_type.get(model_type, model_type),
    )
    file = package / "models" / f"{module}.py"
    # os.path.isfile is False for a name that no file can have, where Path.is_file raises.
    return file if _MODEL_TYPE.fullmatch(module) and os.path.isfile(file) else None


@cache
def source_of(module: Path) -> str:
    """Return the text of a module's file."""
    return module.read_text("utf-8")


@cache
def _package() -> Path:
    spec = find_spec("mlx_lm")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise not_installed("No module named 'mlx_lm'")
    return Path(places[0])


@cache
def _replacements(file: Path) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Return the two tables of mlx-lm that name another module than the model type."""
    found: dict[str, Any] = {}
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("MODEL_REMAPPING", "MODEL_ARCHITECTURE_REMAPPING"):
                found[name] = ast.literal_eval(node.value)
    return found.get("MODEL_REMAPPING", {}), found.get("MODEL_ARCHITECTURE_REMAPPING", {})


@cache
def _names_in(file: Path) -> frozenset[str]:
    """Return the names that a module binds at its top: its classes, and what it imports."""
    source = source_of(file)
    names = set(re.findall(r"^class (\w+)", source, re.MULTILINE))
    if not names >= _CLASSES:
        for node in ast.parse(source).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names.update(alias.asname or alias.name for alias in node.names)
            elif isinstance(node, ast.Assign):
                names.update(t.id for t in node.targets if isinstance(t, ast.Name))
    return frozenset(names)
