"""The files of a model folder that may hold its chat template."""

from __future__ import annotations

import json
from pathlib import Path

from mlxwire_protocol import WireError


def find_template(path: Path) -> str | None:
    """Find a template's source in the order of transformers; return None without one.

    chat_template.jinja comes first, then chat_template.json, then tokenizer_config.json,
    where a list of named ones has a "default". Raises: WireError ``model_load_failed``.
    """
    file = path / "chat_template.jinja"
    if file.exists():
        try:
            return file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise WireError(
                "model_load_failed",
                f"{file.name} can't be read ({error}); copy it again from the model's source, or "
                "remove it",
                data={"reason": "chat_template", "file": file.name},
            ) from None
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = _template_of(path / name)
        if template is not None:
            return template
    return None


def _template_of(path: Path) -> str | None:
    try:
        template = json.loads(path.read_text("utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None
    if isinstance(template, list):
        named = {
            entry.get("name"): entry.get("template")
            for entry in template
            if isinstance(entry, dict)
        }
        template = named.get("default")
    if not isinstance(template, str):
        return None
    try:
        template.encode()
    except UnicodeEncodeError as error:
        raise WireError(
            "model_load_failed",
            f"the chat template in {path.name} is no text ({error.reason}); copy it again from "
            "the model's source",
            data={"reason": "chat_template", "file": path.name},
        ) from None
    return template
