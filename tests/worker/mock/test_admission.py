"""The mock's engine means and refuses what the real one does, so that a host's tests hold."""

from __future__ import annotations

import pytest

from mlxwire_worker.mock.engine import MockEngine
from support.memory_host import MemoryHost


@pytest.fixture
def host() -> MemoryHost:
    host = MemoryHost(MockEngine())
    host.hello()
    host.load()
    return host


@pytest.mark.parametrize(
    ("min_tokens", "text"), [(0, "a "), (1, "a "), (2, "a b a "), (3, "a b a "), (4, "a b a b")]
)
def test_a_stop_string_that_comes_before_min_tokens_is_text(
    host: MemoryHost, min_tokens: int, text: str
) -> None:
    asked = host.send("generate", prompt="a b a b", stop=["b"], min_tokens=min_tokens)

    assert host.final(asked)["finish_reason"] == "stop"
    assert host.text(asked) == text


def test_log_probabilities_of_a_batch_need_the_tokens_that_bring_them(host: MemoryHost) -> None:
    refused = host.ask("batch", prompts=["a"], logprobs=True)

    assert refused["error"]["data"]["field"] == "logprobs"
    assert host.ask("batch", prompts=["a"], logprobs=True, stream=True)["type"] == "done"


def test_a_label_that_is_given_twice_is_refused(host: MemoryHost) -> None:
    refused = host.ask("classify", prompts=["a"], labels=["x", "y", "x"])

    assert refused["error"]["data"]["field"] == "labels"
    assert "`labels[2]`" in refused["error"]["message"]


def test_a_classify_takes_conversations_and_a_separator(host: MemoryHost) -> None:
    turns = [{"role": "user", "content": "one two"}]
    requests = (
        host.send("classify", prompts=["one two", "one twothree"]),
        host.send("classify", messages=[turns, turns], separator="three"),
        host.send("classify", messages=turns),
    )
    for request, count in zip(requests, (2, 2, 1), strict=True):
        assert host.final(request)["type"] == "done"
        items = [m for m in host.order if m["id"] == request and m["type"] == "item"]
        assert sorted(item["index"] for item in items) == list(range(count))
        assert {item["token"] for item in items} == {"one"}


@pytest.mark.parametrize(
    "fields", [{}, {"prompts": ["a"], "messages": [{"role": "user", "content": "a"}]}]
)
def test_a_classify_has_prompts_or_conversations(
    host: MemoryHost, fields: dict[str, object]
) -> None:
    assert host.ask("classify", **fields)["error"]["data"]["field"] == "prompts"


def test_a_prompt_that_is_too_long_fails_alone_in_a_classify(host: MemoryHost) -> None:
    host.load(context_len=4)
    request = host.send("classify", prompts=["one", "one two three four"])

    assert host.final(request)["finish_reason"] == "stop"
    items = {m["index"]: m for m in host.order if m["id"] == request and m["type"] == "item"}
    assert items[0]["token"] == "one"
    assert items[1]["error"]["code"] == "context_overflow"
    assert items[1]["error"]["data"]["field"] == "prompts[1]"
