"""Tool calls come as they are written, complete at the end, and are enforced where they must come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factories.scripted import write_scripted_model
from support.conversation import Message
from support.model_worker import Models, ModelWorker

USER = [{"role": "user", "content": "x"}]
TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\\n' }}{% for t in tools %}{{ t | tojson }}{% endfor %}"
    '{{ \'\\nAnswer with <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>\\n\' }}'
    "{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '<tool_call>' + (c.function | tojson) + '</tool_call>' }}"
    "{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TIME = {"type": "function", "function": {"name": "time"}}
TOOLS = [WEATHER, TIME]
MARKS = ["<tool_call>", "</tool_call>", "<think>", "</think>"]
CALL = [
    "<tool_call>",
    '\n{"name": "wea',
    'ther", "argu',
    'ments": {"city": "Pa',
    'ris"}}\n',
    "</tool_call>",
]


def scripted(folder: Path, *script: str) -> Path:
    plain = [mark for mark in MARKS if mark not in script]
    return write_scripted_model(folder, script, template=TEMPLATE, plain=plain)


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that thinks, says a word, and calls `weather`."""
    return scripted(
        tmp_path_factory.mktemp("caller"),
        "<think>",
        "hm",
        "</think>",
        "\n\nOne ",
        "moment.\n",
        *CALL,
    )


class Answer:
    """All that came of one chat."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages
        self.done = messages[-1]
        tokens = [m for m in messages if m["type"] == "token"]
        self.text = "".join(m["token"] for m in tokens if "channel" not in m)
        self.thoughts = "".join(m["token"] for m in tokens if m.get("channel") == "thinking")
        self.own = [m for m in tokens if not m.get("flush")]
        self.parts = [m for m in messages if m["type"] == "tool_call"]
        seqs = [m["seq"] for m in messages if "seq" in m]
        assert seqs == list(range(len(seqs)))

    def streamed(self) -> list[tuple[str, str, str]]:
        """Return the id, name and joined arguments of each call that began."""
        began = [m for m in self.parts if "name" in m]
        return [
            (
                m["call_id"],
                m["name"],
                "".join(p.get("arguments", "") for p in self.parts if p["index"] == m["index"]),
            )
            for m in began
        ]


def chat(worker: ModelWorker, messages: list[Any] = USER, **options: Any) -> Answer:
    request = worker.send("chat", messages=messages, **{"tools": TOOLS, **options})
    worker.final(request)
    return Answer(worker.messages[request])


def test_a_call_streams_and_is_complete_in_done(worker: ModelWorker, caller: Path) -> None:
    worker.use(caller)
    assert worker.ask("info")["capabilities"]["tools"] is True
    answer = chat(worker)
    (call,) = answer.done["tool_calls"]

    assert (answer.thoughts, answer.text) == ("hm", "One moment.")
    assert answer.done["finish_reason"] == "tool_calls"
    assert answer.done["tool_error"] is None
    assert (call["name"], json.loads(call["arguments"])) == ("weather", {"city": "Paris"})
    assert (call["index"], call["arguments_error"]) == (0, None)
    assert answer.streamed() == [(call["call_id"], "weather", call["arguments"])]
    assert len([p for p in answer.parts if "arguments" in p]) > 1
    assert len(answer.own) == answer.done["tokens_generated"] == 11


def test_the_name_comes_before_the_arguments_are_written(
    worker: ModelWorker, caller: Path
) -> None:
    worker.use(caller)
    answer = chat(worker, max_tokens=9)

    assert [p.get("name") for p in answer.parts if "name" in p] == ["weather"]
    assert answer.done["finish_reason"] == "length"
    assert answer.done["tool_calls"] == []
    assert answer.done["tool_error"]["cut_off"] is True
    assert answer.done["tool_error"]["index"] == 0
    assert "<tool_call>" not in answer.text


def test_every_token_of_a_call_has_its_log_probability(
    worker: ModelWorker, caller: Path
) -> None:
    worker.use(caller)
    answer = chat(worker, logprobs=True)

    assert len(answer.own) == 11
    assert all(m["logprob"] is not None for m in answer.own)


def test_without_tools_or_with_the_choice_none_a_call_is_text(
    worker: ModelWorker, caller: Path
) -> None:
    worker.use(caller)
    for options in ({"tools": []}, {"tool_choice": "none"}):
        answer = chat(worker, **options)
        assert answer.text == "One moment.\n" + "".join(CALL)
        assert "tool_calls" not in answer.done
        assert answer.done["finish_reason"] == "stop"


def test_a_call_of_an_unknown_tool_is_text(worker: ModelWorker, caller: Path) -> None:
    worker.use(caller)
    answer = chat(worker, tools=[TIME])

    assert "".join(answer.text.split()) == "".join(("One moment." + "".join(CALL)).split())
    assert "weather" in answer.done["tool_error"]["message"]
    assert answer.done["tool_error"]["index"] is None
    assert answer.done["finish_reason"] == "stop"
    assert not answer.parts


def test_arguments_that_do_not_fit_are_told(worker: ModelWorker, tmp_path: Path) -> None:
    call = '{"name": "weather", "arguments": {"city": 5}}'
    worker.use(scripted(tmp_path, "<tool_call>", call, "</tool_call>"))
    (made,) = chat(worker).done["tool_calls"]

    assert "city" in made["arguments_error"]
    assert json.loads(made["arguments"]) == {"city": 5}


def test_a_call_that_does_not_parse_is_text(worker: ModelWorker, tmp_path: Path) -> None:
    broken = '{"name": "weather", "arguments": {"city": tru}}'
    worker.use(scripted(tmp_path, "<tool_call>", broken, "</tool_call>", " Sorry."))
    answer = chat(worker)

    assert answer.done["tool_calls"] == []
    assert answer.done["tool_error"]["index"] == 0
    assert answer.text.startswith("<tool_call>" + broken)
    assert answer.text.endswith(" Sorry.")
    assert answer.done["finish_reason"] == "stop"


def test_text_keeps_the_space_before_a_call_that_does_not_parse(
    worker: ModelWorker, tmp_path: Path
) -> None:
    broken = '<tool_call>{"name": "fly"}</tool_call>'
    worker.use(scripted(tmp_path, "I look. \n", "<tool_call>", broken[11:]))
    answer = chat(worker)

    assert answer.text == "I look. \n" + broken
    assert answer.done["tool_error"]["text"] == broken


def test_one_call_is_enough_without_parallel_calls(worker: ModelWorker, tmp_path: Path) -> None:
    calls = ["<tool_call>", '{"name": "time"}', "</tool_call>", "\n<tool_call>",
             '{"name": "weather", "arguments": {"city": "x"}}', "\n</tool_call>"]  # fmt: skip
    worker.use(scripted(tmp_path, *calls))
    both, one = chat(worker), chat(worker, parallel_tool_calls=False)

    assert [c["name"] for c in both.done["tool_calls"]] == ["time", "weather"]
    assert [c["name"] for c in one.done["tool_calls"]] == ["time"]
    assert one.done["finish_reason"] == "tool_calls"
    assert one.done["tokens_generated"] < both.done["tokens_generated"]


@pytest.mark.parametrize("choice", ["required", "time", "weather",
                                    {"type": "function", "function": {"name": "time"}}])  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_a_call_that_must_come_comes(
    worker: ModelWorker, tmp_path_factory: pytest.TempPathFactory, choice: Any, seed: int
) -> None:
    worker.use(scripted(tmp_path_factory.mktemp("unwilling"), "No", ", I won't."))
    properties = {"city": {"type": "string", "maxLength": 5}, "days": {"enum": [1, 2]}}
    short = {"type": "object", "properties": properties, "required": ["city"]}
    weather = {"type": "function", "function": {"name": "weather", "parameters": short}}
    answer = chat(worker, tools=[weather, TIME], tool_choice=choice, parallel_tool_calls=False,
                  thinking={"budget": 9}, temperature=2.0, seed=seed, max_tokens=600)  # fmt: skip
    name = choice["function"]["name"] if isinstance(choice, dict) else choice

    assert answer.done["finish_reason"] == "tool_calls"
    (call,) = answer.done["tool_calls"]
    assert call["arguments_error"] is None
    assert answer.text == ""
    assert name in ("required", call["name"])


def test_a_thought_may_come_before_a_call_that_must(worker: ModelWorker, caller: Path) -> None:
    worker.use(caller)
    answer = chat(worker, tool_choice="time", thinking={"budget": 5})

    assert answer.thoughts == "hm"
    assert [call["name"] for call in answer.done["tool_calls"]] == ["time"]


def test_a_whole_round_renders(worker: ModelWorker, caller: Path) -> None:
    worker.use(caller)
    (call,) = chat(worker).done["tool_calls"]
    turns = [
        *USER,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": call["call_id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
            ],
        },
        {"role": "tool", "tool_call_id": call["call_id"], "content": "sunny"},
    ]

    assert chat(worker, turns).done["finish_reason"] == "tool_calls"
    ids = worker.ask("tokenize", messages=turns, tools=TOOLS)
    text = "".join(ids["pieces"])
    assert '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>' in text
    assert "sunny" in text


def test_a_model_without_tools_refuses_them(worker: ModelWorker, models: Models) -> None:
    worker.use(models("gemma3"))
    assert worker.ask("info")["capabilities"]["tools"] is False
    error = worker.refusal("chat", messages=USER, tools=TOOLS)

    assert error["code"] == "unsupported_capability"
    assert error["data"]["field"] == "tools"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "nothing"}, "tool_choice"),
        ({"tools": [TIME, TIME]}, "tools[1].function.name"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [], "parallel_tool_calls": True}, "parallel_tool_calls"),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": {"type": 5}}}
                ]
            },
            "tools[0].function.parameters",
        ),
    ],
)
def test_what_can_not_be_honoured_is_refused(
    worker: ModelWorker, caller: Path, options: dict[str, Any], field: str
) -> None:
    worker.use(caller)
    error = worker.refusal("chat", messages=USER, **{"tools": TOOLS, **options})

    assert (error["code"], error["data"]["field"]) == ("invalid_params", field)


def test_stop_tokens_that_leave_no_call_are_refused_by_the_choice(
    worker: ModelWorker, caller: Path
) -> None:
    worker.use(caller)
    (opening,) = worker.ask("tokenize", text="<tool_call>")["ids"]
    error = worker.refusal(
        "chat", messages=USER, tools=TOOLS, tool_choice="required", stop_tokens=[opening]
    )

    assert (error["code"], error["data"]["field"]) == ("invalid_params", "tool_choice")
    assert "`tool_choice`" in error["message"]


def test_a_window_counts_the_parts_of_calls(worker: ModelWorker, caller: Path) -> None:
    worker.use(caller)
    whole = chat(worker)
    request = worker.send("chat", messages=USER, tools=TOOLS, window=2)
    worker.until(lambda message: message.get("seq") == 1, request)
    for n in range(2, len(whole.messages)):
        worker.ask("credit", target=request, n=1)
        if n < len(whole.messages) - 1:
            worker.until(lambda message, n=n: message.get("seq") == n, request)
    worker.final(request)

    assert Answer(worker.messages[request]).text == whole.text


@pytest.mark.parametrize(
    ("script", "stop", "text"),
    [
        (("more ", "ab", "<tool_call>", '{"nope": 1}'), "abQ", 'more ab<tool_call>{"nope": 1}'),
        (("<tool_call>", '{"nope": 1}'), "}Q", '<tool_call>{"nope": 1}'),
        (
            ("<tool_call>{}</tool_call> and XYZ", "k"),
            "XYZ9",
            "<tool_call>{}</tool_call> and XYZk",
        ),
        (("<tool_call>{}</tool_call> and XYZ", "k"), "call> and", "<tool_call>{}</tool_"),
        (("<tool_call>{}</tool_call> and XYZ", "k"), "call", "<tool_"),
    ],
)
def test_stop_strings_are_found_in_and_around_a_call_that_failed(
    worker: ModelWorker, tmp_path: Path, script: tuple[str, ...], stop: str, text: str
) -> None:
    worker.use(scripted(tmp_path, *script))

    assert chat(worker, stop=stop).text == text
