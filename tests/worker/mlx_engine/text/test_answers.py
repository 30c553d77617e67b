"""The text of answers, through the worker: spaces kept, stop strings found, all lists alike."""

from __future__ import annotations

import pytest

from support.model_worker import ModelWorker
from support.repository import ROOT

TINY = ROOT / "testdata" / "tiny"
PROMPT = "Once upon a time there was a young"


@pytest.fixture
def tiny(worker: ModelWorker) -> ModelWorker:
    return worker.use(TINY)


def test_an_answer_begins_with_its_space(tiny: ModelWorker) -> None:
    text, ids = tiny.generate(PROMPT, max_tokens=4)
    whole = tiny.ask("detokenize", ids=tiny.ask("tokenize", text=PROMPT)["ids"] + ids)["text"]

    assert text.startswith(" ")
    assert whole.endswith(PROMPT + text)


def test_lists_of_tokens_and_classify_show_the_text_that_is_sent(tiny: ModelWorker) -> None:
    request = tiny.send("generate", prompt=PROMPT, max_tokens=1, logprobs=True, top_logprobs=3)
    tiny.final(request)
    (token,) = [m for m in tiny.messages[request] if m["type"] == "token"]
    classify = tiny.send("classify", prompts=[PROMPT])
    tiny.final(classify)
    (item,) = [m for m in tiny.messages[classify] if m["type"] == "item"]

    assert token["token"].startswith(" ")
    assert token["token"] == token["top_logprobs"][0]["token"] == item["token"]


def test_a_stop_string_with_its_space_ends_the_answer_at_once(tiny: ModelWorker) -> None:
    text, _ = tiny.generate(PROMPT, max_tokens=1)
    assert text.startswith(" ")

    assert tiny.generate(PROMPT, max_tokens=8, stop=[text])[0] == ""


def test_a_batch_sends_the_same_text(tiny: ModelWorker) -> None:
    text, _ = tiny.generate(PROMPT, max_tokens=6)
    batch = tiny.send("batch", prompts=[PROMPT], max_tokens=6)
    tiny.final(batch)
    (item,) = [m for m in tiny.messages[batch] if m["type"] == "item"]

    assert item["text"] == text
