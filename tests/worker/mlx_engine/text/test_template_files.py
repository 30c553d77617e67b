"""Chat templates are found in every form that transformers reads, or refused by their form."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.chat_templates import deepseek_v32
from transformers import AutoTokenizer

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.conversation.encoding import template_variables
from mlxwire_worker.mlx_engine.text.chat_template import Templates, find_templates
from mlxwire_worker.mlx_engine.text.template_process import TemplateProcess
from mlxwire_worker.mlx_engine.text.thinking import find_switch
from mlxwire_worker.prompts import ChatInput
from support.model_worker import Models, ModelWorker

USER = {"role": "user", "content": "x"}
ENTRIES = [
    {"name": "default", "template": "list"},
    {"name": "tool_use", "template": "list with tools"},
]
OBJECT = {"default": "object", "tool_use": "object with tools"}

Folder = Callable[[dict[str, Any]], Path]
"""Makes a model folder whose templates are in the given files: texts, or objects as JSON."""


@pytest.fixture
def folder(models: Models, tmp_path: Path) -> Folder:
    def make(files: dict[str, Any]) -> Path:
        path = tmp_path / "model"
        shutil.copytree(models("qwen2"), path)
        (path / "chat_template.jinja").unlink(missing_ok=True)
        config = json.loads((path / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        (path / "tokenizer_config.json").write_text(json.dumps(config))
        for name, content in files.items():
            file = path / name
            file.parent.mkdir(exist_ok=True)
            if name == "tokenizer_config.json":
                content = {**config, **content}
            file.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return make


@pytest.mark.parametrize(
    "files",
    [
        {"chat_template.jinja": "jinja"},
        {"tokenizer_config.json": {"chat_template": "text"}},
        {"tokenizer_config.json": {"chat_template": ENTRIES}},
        {"tokenizer_config.json": {"chat_template": OBJECT}},
        {
            "chat_template.jinja": "jinja",
            "tokenizer_config.json": {"chat_template": "text"},
            "chat_template.json": {"chat_template": "json"},
        },
        {"chat_template.jinja": "jinja", "additional_chat_templates/tool_use.jinja": "tools"},
        {"additional_chat_templates/default.jinja": "additional"},
        {
            "chat_template.jinja": "jinja",
            "additional_chat_templates/rag.jinja": "rag",
            "tokenizer_config.json": {"chat_template": OBJECT},
        },
        {
            "tokenizer_config.json": {"chat_template": "text"},
            "chat_template.json": {"chat_template": "json"},
        },
    ],
    ids=lambda files: "+".join(files),
)
def test_the_template_of_chats_is_transformers_own(
    folder: Folder, files: dict[str, Any]
) -> None:
    path = folder(files)

    theirs = AutoTokenizer.from_pretrained(path)
    assert find_templates(path) == Templates(
        theirs.get_chat_template(), theirs.get_chat_template(tools=[{}])
    )


@pytest.mark.parametrize("name", ["chat_template.json", "processor_config.json"])
@pytest.mark.parametrize("value", ["text", OBJECT, ENTRIES])
def test_a_processors_template_is_used_where_the_tokenizer_has_none(
    folder: Folder, name: str, value: Any
) -> None:
    found = find_templates(folder({name: {"chat_template": value}}))

    assert found is not None
    assert found.default == (value if value == "text" else find_default(value))


def find_default(value: Any) -> str:
    named = value if isinstance(value, dict) else {e["name"]: e["template"] for e in value}
    return str(named["default"])


def test_a_folder_without_a_template_has_none(folder: Folder) -> None:
    assert find_templates(folder({})) is None


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"tokenizer_config.json": {"chat_template": 5}}, "is 5"),
        ({"tokenizer_config.json": {"chat_template": ["text"]}}, "text"),
        ({"tokenizer_config.json": {"chat_template": [{"template": "x"}]}}, "`name`"),
        ({"tokenizer_config.json": {"chat_template": {"rag": "x"}}}, "rag"),
        ({"tokenizer_config.json": {"chat_template": {"default": 1}}}, "`default`"),
        (
            {"tokenizer_config.json": {"chat_template": {"default": "x", "tool_use": 1}}},
            "tool_use",
        ),
        ({"chat_template.json": {"chat_template": {"a": "x"}}}, "chat_template.json"),
        ({"chat_template.json": "{"}, "chat_template.json"),
        ({"chat_template.json": "[]"}, "chat_template.json"),
        ({"additional_chat_templates/tool_use.jinja": "x"}, "tool_use"),
    ],
)
def test_a_form_that_is_not_read_is_refused_by_its_name(
    folder: Folder, files: dict[str, Any], words: str
) -> None:
    with pytest.raises(WireError) as refused:
        find_templates(folder(files))

    assert (refused.value.code, refused.value.data["reason"]) == (
        "model_load_failed",
        "chat_template",
    )
    assert words in refused.value.message


@pytest.mark.parametrize("kind", ["no_such", "../chat", "deepseek_v32.py", "__init__", "os", 5])
def test_a_template_type_that_mlx_lm_lacks_is_refused(folder: Folder, kind: object) -> None:
    with pytest.raises(WireError) as refused:
        find_templates(folder({"tokenizer_config.json": {"chat_template_type": kind}}))

    assert (refused.value.code, refused.value.data["reason"]) == (
        "unsupported_model",
        "chat_template",
    )


@pytest.mark.parametrize("thinking", [None, True, False], ids=["omitted", "on", "off"])
@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [{"role": "system", "content": "Be brief."}, USER],
        [USER, {"role": "assistant", "content": "y"}, USER],
    ],
)
def test_a_template_in_python_renders_as_in_mlx_lm(
    folder: Folder,
    helper: TemplateProcess,
    messages: list[dict[str, str]],
    thinking: bool | None,
) -> None:
    path = folder(
        {
            "chat_template.jinja": "not used",
            "tokenizer_config.json": {"chat_template_type": "deepseek_v32"},
        }
    )
    found = find_templates(path)
    assert found is not None
    template = found.default
    helper.check(template)
    switch = find_switch(
        template, template_variables(ChatInput(messages=[]), {}), helper.render
    )
    chat = ChatInput(messages=messages, thinking=thinking)
    variables = template_variables(chat, {"bos_token": "<s>"}, switch)
    theirs = {} if thinking is None else {"enable_thinking": thinking}

    assert switch is not None
    assert helper.render(template, variables) == deepseek_v32.apply_chat_template(
        messages, add_generation_prompt=True, **theirs
    )


def test_a_folder_with_named_templates_chats_by_its_default(
    worker: ModelWorker, folder: Folder
) -> None:
    named = {"default": "{{ messages[0].content }}", "tool_use": "{{ raise_exception('x') }}"}
    worker.use(folder({"tokenizer_config.json": {"chat_template": named}}))

    text = worker.ask("tokenize", text="one two", special_tokens=False)["ids"]
    chat = worker.ask("tokenize", messages=[{"role": "user", "content": "one two"}])["ids"]
    assert chat == text
