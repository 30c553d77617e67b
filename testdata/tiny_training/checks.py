"""Checks of the template: training rows have its form, and plain Jinja renders the same."""

import json
import random
from pathlib import Path
from typing import Any

from asking import Messages
from conversations import exchange, system_block
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tasks import any_turn
from tools import offer, tool_turn


def plain_render(folder: Path, **values: Any) -> str:
    """The template under bare Jinja, as an engine without transformers renders it."""

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string((folder / "chat_template.jinja").read_text()).render(
        **values
    )


def check_training_form(folder: Path, tokenizer: Any, count: int = 50) -> None:
    """A conversation put together for training equals the template's rendering of it."""
    rng = random.Random(5)
    for _ in range(count):
        thinking, tools = rng.random() < 0.5, offer(rng, rng.randint(1, 3))
        turn, called = any_turn(rng), tool_turn(rng, "train", rng.choice(tools))
        text = system_block("Be brief.", tools, thinking)
        for pieces in (
            exchange(turn.question, [(turn.answer, 1.0)]),
            exchange(called.question, [(called.call, 1.0)]),
            exchange(called.result, [(called.answer, 1.0)], role="tool"),
        ):
            text += "".join(piece for piece, _ in pieces)
        call = {"name": called.tool.name, "arguments": called.arguments}
        messages: Messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": turn.question},
            {"role": "assistant", "content": turn.answer},
            {"role": "user", "content": called.question},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"type": "function", "function": call}],
            },
            {"role": "tool", "content": called.result},
            {"role": "assistant", "content": called.answer},
        ]
        values: dict[str, Any] = {
            "tools": [tool.spec() for tool in tools],
            "enable_thinking": thinking,
        }
        assert plain_render(folder, messages=messages, **values) == text
        assert tokenizer.apply_chat_template(messages, tokenize=False, **values) == text
