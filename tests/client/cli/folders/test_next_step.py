"""The command that is shown after a model was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxwire.cli.folders.next_step import next_command


@pytest.mark.parametrize(
    ("file", "text", "command"),
    [
        ("chat_template.jinja", "x", "chat"),
        ("tokenizer_config.json", '{"chat_template": "x"}', "chat"),
        ("tokenizer_config.json", "{}", "info"),
        ("modules.json", "[]", "info"),
    ],
)
def test_a_model_without_a_chat_template_is_not_sent_to_a_chat(
    tmp_path: Path, file: str, text: str, command: str
) -> None:
    (tmp_path / file).write_text(text)

    assert next_command(tmp_path, "a b") == f"mlxwire {command} 'a b'"
