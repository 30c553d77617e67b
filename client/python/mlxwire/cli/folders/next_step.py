"""Tells what to type next for a model that has just been written."""

from __future__ import annotations

import shlex
from pathlib import Path


def next_command(folder: Path, typed: str) -> str:
    """Return the command that uses the model in ``folder``, which is named as ``typed``.

    A model without a chat template can't chat; `info` tells what it can do.
    """
    settings = folder / "tokenizer_config.json"
    chats = (folder / "chat_template.jinja").is_file() or (
        settings.is_file() and b'"chat_template"' in settings.read_bytes()
    )
    return f"mlxwire {'chat' if chats else 'info'} {shlex.quote(typed)}"
