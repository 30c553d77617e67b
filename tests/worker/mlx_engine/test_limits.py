"""Requests at the edge of what a model can do end in words, not in MLX."""

from __future__ import annotations

import pytest

from support.model_worker import Models, ModelWorker
from support.reference import reference

PROMPT = "The weather in Paris is"


@pytest.fixture
def small(worker: ModelWorker, models: Models) -> ModelWorker:
    return worker.use(models("qwen3"), context_len=64)


def count(models: Models, prompt: str) -> int:
    return len(reference(models("qwen3")).encode(prompt))


def prompt_of(models: Models, tokens: int) -> str:
    """Return a prompt with exactly ``count`` tokens."""
    text = ""
    while count(models, text + " 1") < tokens:
        text += " 1"
    for end in (" 1", "1", "a", " a"):
        if count(models, text + end) == tokens:
            return text + end
    raise AssertionError(f"no prompt of {tokens} tokens")


def test_a_prompt_that_fills_the_context_is_refused_with_both_numbers(
    small: ModelWorker, models: Models
) -> None:
    for tokens in (64, 65, 300):
        error = small.refusal("generate", prompt=prompt_of(models, tokens))

        assert error["code"] == "context_overflow"
        assert error["data"]["prompt_tokens"] == tokens
        assert error["data"]["context_len"] == 64
        assert str(tokens) in error["message"]


def test_a_prompt_that_leaves_room_for_one_token_gets_one(
    small: ModelWorker, models: Models
) -> None:
    request = small.send("generate", prompt=prompt_of(models, 63), ignore_eos=True)
    final = small.final(request)

    assert (final["tokens_generated"], final["finish_reason"]) == (1, "length")


def test_max_tokens_past_the_room_ends_with_length(small: ModelWorker, models: Models) -> None:
    for asked in (10**6, 2**53 - 1):
        request = small.send("generate", prompt=PROMPT, max_tokens=asked, ignore_eos=True)
        final = small.final(request)

        assert final["finish_reason"] == "length"
        assert final["tokens_generated"] == 64 - count(models, PROMPT)


def test_max_tokens_zero_computes_the_prompt_and_sends_nothing(
    small: ModelWorker, models: Models
) -> None:
    request = small.send("generate", prompt=PROMPT, max_tokens=0)
    final = small.final(request)

    assert (final["finish_reason"], final["tokens_generated"]) == ("length", 0)
    assert final["metrics"]["prompt_tokens"] == count(models, PROMPT)
    assert final["metrics"]["prefill_seconds"] > 0
    assert not [m for m in small.messages[request] if m["type"] == "token"]


def test_max_tokens_cuts_a_text_where_a_longer_one_goes_on(small: ModelWorker) -> None:
    long = small.generate(PROMPT, max_tokens=20)
    short = small.generate(PROMPT, max_tokens=7)

    assert short[1] == long[1][:7]
    assert long[0].startswith(short[0].rstrip("�"))


def test_ids_and_counts_beyond_the_vocabulary_are_named(
    small: ModelWorker,
) -> None:
    vocabulary = small.ask("info")["vocab_size"]
    for fields, field in (
        ({"stop_tokens": [0, vocabulary]}, "stop_tokens[1]"),
        ({"stop_tokens": [2**31 - 1]}, "stop_tokens[0]"),
        ({"top_k": vocabulary + 1}, "top_k"),
        ({"top_k": 2**53 - 1}, "top_k"),
    ):
        error = small.refusal("generate", prompt=PROMPT, **fields)
        assert (error["code"], error["data"]["field"]) == ("invalid_params", field)
    top_k = {"top_k": vocabulary, "temperature": 1, "max_tokens": 2}
    assert small.generate(PROMPT, stop_tokens=[vocabulary - 1], **top_k)


@pytest.mark.parametrize(
    ("cmd", "fields", "field"),
    [
        ("generate", {"prompt": ""}, "prompt"),
        ("generate", {}, "prompt"),
        ("generate", {"prompt": 5}, "prompt"),
        ("chat", {"messages": []}, "messages"),
        ("chat", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("classify", {"prompts": []}, "prompts"),
        ("classify", {"prompts": [5]}, "prompts[0]"),
        ("generate", {"prompt": "x", "temperature": -1}, "temperature"),
        ("generate", {"prompt": "x", "top_p": 1.5}, "top_p"),
        ("generate", {"prompt": "x", "min_p": -0.1}, "min_p"),
        ("generate", {"prompt": "x", "stop": ""}, "stop"),
        ("generate", {"prompt": "x", "colour": "red"}, "colour"),
        ("chat", {"messages": [{"role": "u", "content": "x"}], "prompt": "x"}, "prompt"),
    ],
)
def test_a_wrong_field_is_named(
    small: ModelWorker, cmd: str, fields: dict[str, object], field: str
) -> None:
    error = small.refusal(cmd, **fields)

    assert error["code"] == "invalid_params"
    assert error["data"]["field"].startswith(field.split("[")[0])


def test_a_prompt_of_a_single_token_is_answered(small: ModelWorker, models: Models) -> None:
    assert count(models, "a") == 1

    answer = small.generate("a", max_tokens=8)

    assert answer == reference(models("qwen3")).generate("a", 8)


def test_an_empty_raw_prompt_of_a_family_with_bos_is_still_refused(
    worker: ModelWorker, models: Models
) -> None:
    error = worker.use(models("llama3")).refusal("generate", prompt="")

    assert (error["code"], error["data"]["field"]) == ("invalid_params", "prompt")


def test_a_chat_past_the_context_names_the_messages(small: ModelWorker) -> None:
    error = small.refusal("chat", messages=[{"role": "user", "content": "word " * 100}])

    assert error["code"] == "context_overflow"
    assert error["data"]["prompt_tokens"] > 64
