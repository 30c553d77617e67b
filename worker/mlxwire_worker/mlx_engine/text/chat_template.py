"""A model's chat template: its file, its variables, and the token ids of its rendered text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlxwire_protocol import WireError

from ...prompts import ChatInput
from .tokenizer import Tokenizer

Render = Callable[[str, dict[str, Any]], str]


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


def encode_chat(
    chat: ChatInput,
    template: str,
    tokenizer: Tokenizer,
    render: Render,
    check: Callable[[str], None] = lambda _: None,
) -> list[int]:
    """Return the token ids of a conversation; control tokens in messages count if it says so.

    ``check`` sees the rendered text before it is tokenized, and may raise.
    Raises: WireError ``invalid_params`` where the template refuses the messages.
    """
    variables = template_variables(chat, tokenizer.special_tokens)
    if chat.special_tokens:
        rendered = render(template, variables)
        check(rendered)
        return tokenizer.encode(rendered, add_special_tokens=False)
    mark, variables["messages"] = tokenizer.control_tokens.mark(chat.messages)
    return tokenizer.control_tokens.encode(render(template, variables), mark, check)


def template_variables(chat: ChatInput, special_tokens: dict[str, str]) -> dict[str, Any]:
    """Return the variables of a template; without ``thinking`` its own default holds."""
    variables: dict[str, Any] = {
        **special_tokens,
        "messages": list(chat.messages),
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
    }
    if chat.thinking is not None:
        # Qwen 3 and most others ask for the first name, DeepSeek V3.1 and Granite the second.
        variables["enable_thinking"] = variables["thinking"] = chat.thinking
    return variables


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
