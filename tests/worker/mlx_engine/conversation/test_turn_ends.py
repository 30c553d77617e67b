"""An answer ends where the chat template ends a turn, whatever the folder declares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factories.models import write_json
from factories.scripted import END, TURNS, write_scripted_model
from factories.tool_templates import TOOL_TEMPLATES
from support.model_worker import ModelWorker

USER = [{"role": "user", "content": "x"}]
OTHER = "<|endoftext|>"


def turns(opening: str, between: str, closing: str, begin: str) -> str:
    return (
        f"{{% for m in messages %}}{{{{ '{opening}' + m.role + '{between}' + m.content + '{closing}' }}}}"
        f"{{% endfor %}}{{% if add_generation_prompt %}}{{{{ '{begin}' }}}}{{% endif %}}"
    )


GEMMA3 = turns("<start_of_turn>", "\\n", "<end_of_turn>\\n", "<start_of_turn>model\\n")
PHI = turns("<|", "|>\\n", "<|end|>\\n", "<|assistant|>\\n")
COHERE = turns(
    "<|START_OF_TURN_TOKEN|>", "\\n", "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>", "<|CHATBOT|>\\n"
)
NO_END = turns("<|", "|>\\n", "", "<|assistant|>\\n")
FAMILIES = {
    "chatml": (TURNS, "Ċ", END),
    "gemma": (GEMMA3, "Ċ", "<end_of_turn>"),
    "phi": (PHI, "Ċ", "<|end|>"),
    "cohere": (COHERE, "Ċ", "<|END_RESPONSE|>"),
    "no end, as GLM": (NO_END, "Ċ", "<|user|>"),
    "hermes": (TOOL_TEMPLATES["hermes"], "Ċ", END),
    "llama3": (TOOL_TEMPLATES["llama3"], "Ċ", "<|eot_id|>"),
    "gpt-oss": (TOOL_TEMPLATES["gpt-oss"], "assistant", "<|return|>"),
    "gpt-oss call": (TOOL_TEMPLATES["gpt-oss"], "assistant", "<|call|>"),
    "kimi": (TOOL_TEMPLATES["kimi"], "<|im_middle|>", END),
    "gemma4": (TOOL_TEMPLATES["gemma4"], "Ċ", "<turn|>"),
    "glm": (TOOL_TEMPLATES["glm"], "Ċ", "<|user|>"),
    "glm with tools": (TOOL_TEMPLATES["glm"], "Ċ", "<|observation|>"),
}
CHANNEL = ("<|channel|>", "final", "<|message|>")


def write(folder: Path, family: str, *script: str) -> Path:
    template, begin, end = FAMILIES[family]
    special = {OTHER, "<|start_header_id|>", "<|end_header_id|>", "<|im_middle|>", "<|start|>"}
    special |= {"<|message|>", "<|channel|>", "<tool_call>", "</tool_call>", end, begin} - {"Ċ"}
    path = write_scripted_model(
        folder,
        script,
        template=template,
        special=sorted(special - {END, "<|im_start|>", "assistant", *script}),
        plain=[begin] if begin == "assistant" else [],
        begin=begin,
        after={end: "more"},
    )
    declared = json.loads((path / "tokenizer_config.json").read_text()) | {"eos_token": OTHER}
    write_json(path / "tokenizer_config.json", declared)
    added = json.loads((path / "tokenizer.json").read_text())["added_tokens"]
    ids = {token["content"]: token["id"] for token in added}
    config = json.loads((path / "config.json").read_text())
    write_json(path / "config.json", config | {"eos_token_id": ids[OTHER]})
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_that_ends_a_turn_is_text(
    worker: ModelWorker, tmp_path: Path, family: str
) -> None:
    end = FAMILIES[family][2]
    head = CHANNEL if family.startswith("gpt-oss") else ()
    path = write(tmp_path, family, *head, "Hello", *([] if end == END else [end]), "more")
    if end == END:  # the factory lets it follow the last piece
        path = write(tmp_path / "end", family, *head, "more", "Hello")
    worker.use(path)
    text, _ = worker.chat(USER, max_tokens=9)

    assert text == ("moreHello" if end == END else "Hello")
    if family == "chatml":
        assert worker.generate("x\n", max_tokens=9)[0] == text
        assert worker.generate("x\n", max_tokens=9, ignore_eos=True)[0] != text


@pytest.mark.parametrize("within", ["</think>", "</tool_call>", "<|channel|>"])
def test_marks_within_an_answer_end_no_text(
    worker: ModelWorker, tmp_path: Path, within: str
) -> None:
    template = TURNS.replace("m.content +", f"m.content + '{within}' +")
    worker.use(write_scripted_model(tmp_path, ["Hi", within, " there"], template=template))

    assert "there" in worker.chat(USER, max_tokens=9)[0]
