"""Each family's calls come through the wire: those that the model writes, and those that must come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from factories.scripted import write_scripted_model
from factories.tool_templates import TOOL_TEMPLATES
from support.model_worker import ModelWorker

USER = [{"role": "user", "content": "x"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 5},
                "days": {"type": "integer"},
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
ARGUMENTS = {"city": "Bern", "days": 3}
JSON = '{"city": "Bern", "days": 3}'


class Form(NamedTuple):
    """A family: the token that ends its prompt, its control tokens, and the script of a call."""

    begin: str
    special: tuple[str, ...]
    script: tuple[str, ...]


HERMES = Form(
    "Ċ",
    ("<tool_call>", "</tool_call>", "<tools>", "</tools>", "<think>", "</think>"),
    ("<tool_call>", '\n{"name": "weather", "argum', f'ents": {JSON}', "}\n", "</tool_call>"),
)
FORMS = {
    "hermes": HERMES,
    "qwen3": HERMES,
    "qwen3-coder": Form(
        "Ċ",
        ("<tool_call>", "</tool_call>"),
        ("<tool_call>", "\n<function=weather>\n<parameter=city>\nBern\n", "</parameter>\n",
         "<parameter=days>\n3\n</parameter>\n</function>\n", "</tool_call>"),
    ),
    "llama3": Form(
        "Ċ",
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"),
        ('{"name": "weather", ', f'"parameters": {JSON}', "}"),
    ),
    "mistral": Form(
        "[/INST]",
        ("[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
        ("[TOOL_CALLS]", '[{"name": "weather", "argu', f'ments": {JSON}', "}]"),
    ),
    "deepseek-v3": Form(
        "<｜Assistant｜>",
        ("<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
         "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"),
        ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "function", "<｜tool▁sep｜>",
         f"weather\n```json\n{JSON}\n```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
    ),
    "gpt-oss": Form(
        "assistant",
        ("<|start|>", "<|end|>", "<|call|>", "<|message|>", "<|channel|>", "<|constrain|>"),
        ("<|channel|>", "commentary to=functions.weather ", "<|constrain|>", "json", "<|message|>",
         JSON),
    ),
    "glm": Form(
        "Ċ",
        ("<|user|>", "<|assistant|>", "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>",
         "<arg_value>", "</arg_value>"),
        ("<tool_call>", "weather\n", "<arg_key>city</arg_key>\n<arg_value>Bern</arg_value>\n",
         "<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n", "</tool_call>"),
    ),
    "kimi": Form(
        "<|im_middle|>",
        ("<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>",
         "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>",
         "<|tool_call_end|>", "<|tool_call_argument_begin|>"),
        ("<|tool_calls_section_begin|>", "<|tool_call_begin|>", "functions.weather:0",
         "<|tool_call_argument_begin|>", JSON, "<|tool_call_end|>", "<|tool_calls_section_end|>"),
    ),
    "gemma4": Form(
        "Ċ",
        ("<|turn>", "<turn|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", '<|"|>'),
        ("<|tool_call>", 'call:weather{city:<|"|>Bern<|"|>', ",days:3}", "<tool_call|>"),
    ),
    "minimax-m1": Form(
        "Ċ",
        ("<tools>", "</tools>"),
        ("<tool_", "calls>", '\n{"name": "weather", "argum', f'ents": {JSON}', "}\n</tool_calls>"),
    ),
}  # fmt: skip


def model(folder: Path, family: str, *script: str) -> Path:
    form = FORMS[family]
    return write_scripted_model(
        folder,
        script,
        template=TOOL_TEMPLATES[family],
        special=[token for token in form.special if token not in script],
        plain=[form.begin] if form.begin not in (*form.special, "Ċ") else [],
        begin=form.begin,
    )


def chat(worker: ModelWorker, **options: Any) -> tuple[str, dict[str, Any]]:
    request = worker.send("chat", messages=USER, tools=[WEATHER], **options)
    done = worker.final(request)
    tokens = [m for m in worker.messages[request] if m["type"] == "token"]
    return "".join(m["token"] for m in tokens if "channel" not in m), done


@pytest.mark.parametrize("family", FORMS)
def test_a_call_of_the_family_is_told(worker: ModelWorker, tmp_path: Path, family: str) -> None:
    worker.use(model(tmp_path, family, *FORMS[family].script))
    assert worker.ask("info")["capabilities"]["tools"] is True
    text, done = chat(worker)

    assert (text, done["finish_reason"], done["tool_error"]) == ("", "tool_calls", None), done
    (call,) = done["tool_calls"]
    assert (call["name"], json.loads(call["arguments"])) == ("weather", ARGUMENTS)
    assert call["arguments_error"] is None
    assert (call["call_id"] == "functions.weather:0") is (family == "kimi")


@pytest.mark.parametrize("family", FORMS)
def test_a_call_that_must_come_has_the_family_s_form(
    worker: ModelWorker, tmp_path: Path, family: str
) -> None:
    worker.use(model(tmp_path, family, "No", ", I won't."))
    for seed in range(4):
        text, done = chat(
            worker, tool_choice="weather", temperature=3.0, seed=seed, max_tokens=400
        )

        assert text == "", done
        assert done["finish_reason"] in ("tool_calls", "length"), done
        for call in done["tool_calls"]:
            assert call["name"] == "weather"
            assert call["arguments_error"] is None
    assert done["tool_calls"]


@pytest.mark.parametrize("family", FORMS)
def test_text_beside_tools_stays_text(worker: ModelWorker, tmp_path: Path, family: str) -> None:
    answer = ("<|channel|>", "final", "<|message|>") if family == "gpt-oss" else ()
    worker.use(model(tmp_path, family, *answer, "It rains", ' {"in": "Bern"}', " <b>today</b>"))
    text, done = chat(worker)

    assert text == 'It rains {"in": "Bern"} <b>today</b>'
    assert (done["finish_reason"], done["tool_calls"], done["tool_error"]) == ("stop", [], None)


@pytest.mark.parametrize("budget", [2, 4, 6, 8])
def test_a_budget_of_thoughts_does_not_count_a_call_behind_them(
    worker: ModelWorker, tmp_path: Path, budget: int
) -> None:
    call = "assistant<|channel|>commentary to=functions.weather<|message|>"
    script = ("<|channel|>", "analysis", "<|message|>", "hm", "<|end|>", "<|start|>", call)
    worker.use(model(tmp_path, "gpt-oss", *script, '{"city": ', '"Bern",', ' "days": ', "3}"))
    text, done = chat(worker, thinking={"budget": budget})

    assert (text, done["finish_reason"], done["tool_error"]) == ("", "tool_calls", None), done
    assert [json.loads(call["arguments"]) for call in done["tool_calls"]] == [ARGUMENTS]


@pytest.mark.parametrize("family", FORMS)
def test_info_tells_if_a_strict_call_can_be_enforced(
    worker: ModelWorker, tmp_path: Path, family: str
) -> None:
    worker.use(model(tmp_path, family, "No"))
    able = worker.ask("info")["capabilities"]
    strict = {**WEATHER, "function": {**WEATHER["function"], "strict": True}}
    asked = {"messages": USER, "tools": [strict], "tool_choice": "required", "max_tokens": 1}
    end = worker.final(worker.send("chat", **asked))

    assert able["required_calls"] is True
    assert able["strict_tools"] is (end["type"] == "done")
    if not able["strict_tools"]:
        assert end["error"]["data"] == {"missing": ["strict_tools"], "field": "tools"}
