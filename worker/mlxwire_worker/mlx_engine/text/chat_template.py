"""Finds a model folder's chat template in every form that transformers and mlx-lm read.

A form that neither reads is refused by its name, so that no model is served without its template.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mlxwire_protocol import WireError

from ..models.model_files import failed, unsupported

_MODULE = re.compile(r"[a-z][a-z0-9_]*")
_REMEDY = "copy it again from the model's source, or remove it"


class PythonTemplate(str):
    """The source of a chat template of mlx-lm's own package, written in Python."""

    __slots__ = ()


class Templates(NamedTuple):
    """A folder's template for chats, and the one for requests with tools; often the same."""

    default: str
    tool_use: str


def find_templates(path: Path) -> Templates | None:
    """Find the sources of the templates for chats; return None without one.

    In this order, as mlx-lm and transformers: the module that `chat_template_type` in
    tokenizer_config.json names; chat_template.jinja with additional_chat_templates/; `chat_template`
    in tokenizer_config.json; and, for folders of a processor, chat_template.json and
    processor_config.json. Of several named templates it is "default", and "tool_use" for requests
    with tools. Raises: WireError ``model_load_failed`` or ``unsupported_model``.
    """
    config = _read(path / "tokenizer_config.json")
    kind = config.get("chat_template_type")
    if kind is not None and kind != "":
        template = _python_template(kind, "tokenizer_config.json")
        return Templates(template, template)
    found = _template_files(path)
    if found is None:
        found = _chosen(config.get("chat_template"), "tokenizer_config.json")
    for name in ("chat_template.json", "processor_config.json"):
        if found is None:
            found = _chosen(_read(path / name).get("chat_template"), name)
    return found


def _template_files(path: Path) -> Templates | None:
    """Return the .jinja files' templates. Without a default, others are refused, as in transformers."""
    file = path / "chat_template.jinja"
    named = {
        other.stem: other for other in (path / "additional_chat_templates").glob("*.jinja")
    }
    if file.exists():
        named["default"] = file
    if not named:
        return None
    if "default" not in named:
        _no_default(sorted(named), "additional_chat_templates")
    default = _text(named["default"])
    return Templates(default, _text(named["tool_use"]) if "tool_use" in named else default)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise _failed(f"{file.name} can't be read ({error}); {_REMEDY}", file.name) from None


def _chosen(value: object, file: str) -> Templates | None:
    """Return the templates for chats of a `chat_template`: a text, an object, or a list of named ones."""
    if value is None:
        return None
    if isinstance(value, str):
        return Templates(_checked(value, file), value)
    if isinstance(value, dict):
        named = value
    elif isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in value
    ):
        named = {entry["name"]: entry.get("template") for entry in value}
    else:
        raise _failed(
            f"`chat_template` in {file} is {json.dumps(value)[:80]}; it must be a text, an object "
            f"of named templates, or a list of objects with `name` and `template`; {_REMEDY}",
            file,
        )
    if not named:
        return None
    if "default" not in named:
        _no_default(sorted(named), file)
    for name in ("default", "tool_use"):
        if not isinstance(named.get(name, ""), str):
            raise _failed(f"the chat template `{name}` in {file} is no text; {_REMEDY}", file)
    default = _checked(named["default"], file)
    return Templates(
        default, _checked(named["tool_use"], file) if "tool_use" in named else default
    )


def _checked(template: str, file: str) -> str:
    try:
        template.encode()
    except UnicodeEncodeError as error:
        raise _failed(
            f"the chat template in {file} is no text ({error.reason}); copy it again from the "
            "model's source",
            file,
        ) from None
    return template


def _no_default(names: list[str], file: str) -> NoReturn:
    raise _failed(
        f"{file} has the chat templates {', '.join(names)[:200]}, but none named `default`, which "
        "`chat` uses; name one of them `default`, or add a chat_template.jinja",
        file,
    )


def _python_template(kind: object, file: str) -> PythonTemplate:
    template = _python_template_if_any(kind)
    if template is None:
        raise unsupported(
            "chat_template",
            f"`chat_template_type` in {file} is {json.dumps(kind)[:80]}, which is no chat template "
            "of the installed mlx-lm; install a newer mlx-lm, or remove the entry and add a "
            "chat_template.jinja",
            file=file,
        )
    return template


def _python_template_if_any(kind: object) -> PythonTemplate | None:
    """Return the source of a template in mlx-lm's package; no other folder is looked at."""
    spec = importlib.util.find_spec("mlx_lm")
    if spec is None or not isinstance(kind, str) or not _MODULE.fullmatch(kind):
        return None
    for folder in spec.submodule_search_locations or ():
        file = Path(folder) / "chat_templates" / f"{kind}.py"
        if file.is_file():
            source = file.read_text("utf-8")
            return PythonTemplate(source) if "def apply_chat_template(" in source else None
    return None


def _read(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty if there is none; the tokenizer checks its own."""
    try:
        value = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        if file.name != "chat_template.json":
            return {}
        raise _failed(f"{file.name} can't be read ({error}); {_REMEDY}", file.name) from None
    if isinstance(value, dict):
        return value
    if file.name != "chat_template.json":
        return {}
    raise _failed(f"{file.name} is not a JSON object; {_REMEDY}", file.name)


def _failed(message: str, file: str) -> WireError:
    return failed("chat_template", message, file=file)
