"""Tools over real workers: the MLX engine with a model that writes a given call, and the example."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

import mlxwire
import mlxwire.sync
from factories.scripted import write_scripted_model
from support.patience import PATIENCE_SECONDS
from support.repository import ROOT

EXAMPLE = ROOT / "examples" / "python-tools" / "tools.py"
MOCK = f"{sys.executable} -P -m mlxwire_worker --engine mock"
TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\\n' }}{% for t in tools %}{{ t | tojson }}{% endfor %}"
    '{{ \'\\nAnswer with <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>\\n\' }}'
    "{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '<tool_call>' + (c.function | tojson) + '</tool_call>' }}"
    "{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if messages[-1].role == 'tool' %}{{ '</tool_call>' }}{% endif %}{% endif %}"
)
"""After a result the prompt ends with the last mark of the call, which the model goes on from."""
SCRIPT = [
    *("<think>", "hm", "</think>", "One ", "moment."),
    *("<tool_call>", '\n{"name": "wea', 'ther", "argu', 'ments": {"city": "Pa', 'ris"}}\n'),
    *("</tool_call>", "It is", " warm."),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a model that thinks, calls `weather`, and answers after the result."""
    return str(
        write_scripted_model(tmp_path_factory.mktemp("caller"), SCRIPT, template=TEMPLATE)
    )


def weather(city: str, days: int = 1) -> str:
    """Tell the weather."""
    return f"{city}: {21 + days} degrees"


async def test_a_real_model_calls_a_function_and_answers(folder: str) -> None:
    heard: list[mlxwire.Token] = []
    async with mlxwire.Worker(engine="mlx") as worker:
        model = await worker.load(folder)
        answer = await mlxwire.run_tools(
            model, "x", [weather], parallel_tool_calls=False, on_token=heard.append
        )

    assert (answer.text, answer.rounds) == ("It is warm.", 2)
    _, calling, result, last = answer.messages
    assert calling["content"] == "One moment."
    assert calling["reasoning_content"] == "hm"
    assert result["content"] == "Paris: 22 degrees"
    assert last == {"role": "assistant", "content": "It is warm."}
    parts = [token.tool_call for token in heard if token.tool_call is not None]
    assert parts[0].name == "weather"
    assert "".join(part.arguments for part in parts) == '{"city": "Paris"}'


def test_a_stream_of_a_real_model_gives_thoughts_text_and_calls(folder: str) -> None:
    tool = mlxwire.Tool(weather).definition
    with mlxwire.sync.Worker(engine="mlx") as worker:
        model = worker.load(folder)
        stream = model.chat("x", tools=[tool], parallel_tool_calls=False)
        counted = sum(not token.flush for token in stream)
        assert (stream.text(), stream.thoughts()) == ("One moment.", "hm")
        assert [call.parsed() for call in stream.calls()] == [{"city": "Paris"}]
        assert counted == stream.done.tokens_generated
        plain = model.chat("x")
        assert plain.thoughts() == "hm"
        assert plain.text().startswith("One moment.")


@pytest.mark.parametrize("window", [1, 3])
async def test_a_small_window_gives_the_same_parts(folder: str, window: int) -> None:
    tool = mlxwire.Tool(weather).definition

    async def streamed(buffer_bytes: int) -> list[mlxwire.Token]:
        async with mlxwire.Worker(engine="mlx", buffer_bytes=buffer_bytes) as worker:
            model = await worker.load(folder)
            stream = model.chat("x", tools=[tool])
            return [token async for token in stream]

    narrow, wide = await asyncio.gather(streamed(256 * window), streamed(1 << 20))
    assert [(t.seq, t.text, t.channel) for t in narrow] == [
        (t.seq, t.text, t.channel) for t in wide
    ]
    assert sum(t.tool_call is not None for t in narrow) == sum(
        t.tool_call is not None for t in wide
    )


def run_example(folder: str, question: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), folder, question],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        timeout=PATIENCE_SECONDS,
        check=True,
    )


def test_the_example_shows_calls_apart_from_the_answer() -> None:
    question = '<tool_call>{"name": "add", "arguments": {"numbers": [40, 2]}}</tool_call>'
    done = run_example("testdata/tiny", question, MLXWIRE_WORKER=MOCK)

    assert done.stdout == "42.0\n"
    assert '[add] {"numbers": [40, 2]}' in done.stderr
    assert "-> 42.0" in done.stderr


async def test_the_model_is_told_of_a_call_of_another_tool_and_goes_on(folder: str) -> None:
    def other() -> None:
        """Do nothing."""

    async with mlxwire.Worker(engine="mlx") as worker:
        model = await worker.load(folder)
        with pytest.raises(mlxwire.TooManyRounds, match="in round 2, the last") as caught:
            await mlxwire.run_tools(model, "x", [other], max_rounds=2)

    turns = caught.value.messages
    assert [turn["role"] for turn in turns] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert "weather" in turns[1]["content"]
    assert "`weather`, which is not in `tools`; the tools are: other" in turns[2]["content"]


async def test_a_call_that_max_tokens_cut_raises_with_what_was_written(folder: str) -> None:
    async with mlxwire.Worker(engine="mlx") as worker:
        model = await worker.load(folder)
        with pytest.raises(mlxwire.CallCutOff) as caught:
            await mlxwire.run_tools(model, "x", [weather], max_tokens=8)

    assert caught.value.text == "One moment."
    assert caught.value.done is not None
    assert caught.value.done.tool_error is not None
    assert "weather" in caught.value.done.tool_error.text
