"""Calls in the forms of MiniMax M2 and of DeepSeek V3.2."""

from __future__ import annotations

from typing import Any

import pytest

from mlxwire_worker.output.tool_calls.dsml import Dsml
from mlxwire_worker.output.tool_calls.minimax import MiniMax

from .tagged import decoded, failure


def minimax(*calls: str) -> str:
    return "<minimax:tool_call>\n{}\n</minimax:tool_call>".format("\n".join(calls))


def invoke(name: str, **values: str) -> str:
    given = "".join(f'<parameter name="{k}">{v}</parameter>\n' for k, v in values.items())
    return f'<invoke name="{name}">\n{given}</invoke>'


def dsml(*calls: str, section: str = "function_calls") -> str:
    text = minimax(*calls).replace("minimax:tool_call", section)
    for tag in ("invoke", "parameter", section):
        text = text.replace(f"<{tag}", f"<｜DSML｜{tag}").replace(
            f"</{tag}", f"</｜DSML｜{tag}"
        )
    return text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (minimax(invoke("now")), [("now", {})]),
        (
            f"Let me.\n{minimax(invoke('weather', city='Seattle', days='5'), invoke('now'))} ok",
            ["Let me.", ("weather", {"city": "Seattle", "days": 5}), ("now", {}), "ok"],
        ),
        (
            minimax("<invoke name='weather'><parameter name=city> <b>&\n</parameter></invoke>"),
            [("weather", {"city": " <b>&\n"})],
        ),
        (
            minimax(invoke("weather", city="Oslo").removesuffix("</invoke>")) + " ok",
            [("weather", {"city": "Oslo"}), "ok"],
        ),
        (
            minimax('<invoke name="weather">\n{"city": "</invoke>"}\n</invoke>', invoke("now")),
            [("weather", {"city": "</invoke>"}), ("now", {})],
        ),
        (minimax(invoke("weather", limit="null")), [("weather", {"limit": None})]),
        (minimax(invoke("weather", city="null")), [("weather", {"city": "null"})]),
        (
            minimax(invoke("any-thing.2", a="[1]", b="x")),
            [("any-thing.2", {"a": [1], "b": "x"})],
        ),
    ],
)
def test_minimax(text: str, parts: list[Any]) -> None:
    assert decoded(MiniMax(), text) == parts


def typed(name: str, *parameters: tuple[str, str, str]) -> str:
    given = "\n".join(
        f'<parameter name="{k}" string="{s}">{v}</parameter>' for k, s, v in parameters
    )
    return f'<invoke name="{name}">\n{given}\n</invoke>'


@pytest.mark.parametrize("section", ["function_calls", "tool_calls"])
@pytest.mark.parametrize(
    ("call", "part"),
    [
        (typed("now"), ("now", {})),
        (
            typed("weather", ("city", "true", "SF"), ("days", "false", "42")),
            ("weather", {"city": "SF", "days": 42}),
        ),
        (typed("any-thing.2", ("a", "true", "42")), ("any-thing.2", {"a": "42"})),
        (
            typed("any-thing.2", ("a", "false", '{"b": [1]}')),
            ("any-thing.2", {"a": {"b": [1]}}),
        ),
        (typed("weather", ("either", "true", "42")), ("weather", {"either": "42"})),
        (typed("weather", ("either", "false", "42")), ("weather", {"either": 42})),
        (typed("weather", ("days", "true", "42")), ("weather", {"days": 42})),
        (typed("weather", ("city", "false", "42")), ("weather", {"city": "42"})),
        (typed("weather", ("limit", "false", "null")), ("weather", {"limit": None})),
    ],
)
def test_dsml(section: str, call: str, part: tuple[str, Any]) -> None:
    text = dsml(call, call, section=section)
    assert decoded(Dsml(), f"Sure!\n\n{text}") == ["Sure!", part, part]


def test_dsml_without_the_mark_of_its_section() -> None:
    text = dsml(typed("weather", ("city", "true", "SF"))).removeprefix(
        "<｜DSML｜function_calls>"
    )
    assert decoded(Dsml(), f"Sure!{text}") == ["Sure!", ("weather", {"city": "SF"})]


@pytest.mark.parametrize(
    "text",
    [
        minimax(invoke("fly", city="a")),
        minimax('<invoke name="now">hello</invoke>'),
        minimax("hello"),
        minimax('<invoke name="a" b="c"></invoke>'),
    ],
)
def test_what_is_no_call_is_told_whole(text: str) -> None:
    failed = failure(MiniMax(), text)
    assert (failed.text, failed.cut_off) == (text, False)


def test_a_good_call_stands_behind_a_failed_one() -> None:
    parts = decoded(MiniMax(), minimax(invoke("now"), invoke("fly"), invoke("now")))
    assert parts[0] == ("now", {})
    assert parts[1].text.strip() == invoke("fly")


def test_every_beginning_of_a_call_is_cut_off() -> None:
    text = dsml(typed("weather", ("city", "true", "SF")))
    for size in range(len("<｜DSML｜function_calls>"), text.index("</｜DSML｜invoke>") + 5):
        assert failure(Dsml(), text[:size]).cut_off, text[:size]
