"""No reply is longer than a line: a client would end the worker for it, and all other requests.

What makes one long comes from a model folder: a token's text, a row of logits, what is quoted.
"""

from __future__ import annotations

import json
import sys

import pytest

from mlxwire_protocol import WireError, error_reply
from mlxwire_protocol.codec import encode
from mlxwire_protocol.framing import DEFAULT_MAX_LINE_BYTES
from mlxwire_worker.mock.engine import MockEngine
from mlxwire_worker.passes import Classified, ClassifyPrompts
from mlxwire_worker.prompts import (
    Detokenizer,
    Prompt,
    SamplingParams,
)
from support.memory_host import MemoryHost

LONG = "q" * (DEFAULT_MAX_LINE_BYTES + 1)


class LongWords(Detokenizer):
    """A vocabulary with one token, of more characters than a line has bytes."""

    def add_token(self, token: int) -> str:
        return LONG

    def text_of(self, token: int) -> str:
        return LONG

    def finalize(self) -> str:
        return ""


class LongEngine(MockEngine):
    """Speaks in long words where it is asked for one."""

    def text_prompt(self, text: str, params: SamplingParams, *, field: str) -> Prompt:
        prompt = super().text_prompt(text, params, field=field)
        if "long" in text:
            prompt.detokenizer = LongWords()
        return prompt

    def classify(self, prompts: ClassifyPrompts) -> list[tuple[int, Classified]]:
        ((index, item),) = super().classify(prompts)
        if prompts.logits:
            item = item._replace(logits=[0.1234567] * (DEFAULT_MAX_LINE_BYTES // 8))
        return [(index, item)]


@pytest.mark.parametrize(
    "fields",
    [
        {"cmd": "generate", "prompt": "long"},
        {"cmd": "generate", "prompt": "long", "logprobs": True},
        {"cmd": "generate", "prompt": "long", "logprobs": True, "top_logprobs": 1},
        {"cmd": "classify", "prompts": ["a", "b"], "logits": True},
    ],
    ids=str,
)
def test_a_reply_that_is_too_long_ends_its_own_request(fields: dict[str, object]) -> None:
    host = MemoryHost(LongEngine())
    host.hello()
    host.load()
    beside = host.send("generate", prompt="one two three", ignore_eos=True, max_tokens=400)

    error = host.final(host.send(**fields))["error"]  # type: ignore[arg-type]

    assert error["code"] == "message_too_large"
    assert error["data"] == {"max_line_bytes": DEFAULT_MAX_LINE_BYTES}
    assert host.final(beside)["finish_reason"] == "length"
    assert host.ask("metrics")["in_flight"] == 0


class LongEnd(LongWords):
    """Holds everything back until the end."""

    def add_token(self, token: int) -> str:
        return ""

    def finalize(self) -> str:
        return LONG


def test_a_cancel_is_not_spoilt_by_what_was_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LongWords", LongEnd)
    host = MemoryHost(LongEngine())
    host.hello()
    host.load()
    beside = host.send("generate", prompt="one two", ignore_eos=True, max_tokens=100_000)
    held = host.send("generate", prompt="long", ignore_eos=True, max_tokens=100_000)
    host.first_token(held)

    host.send("cancel", target=held)

    assert host.final(held)["finish_reason"] == "cancelled"
    host.send("cancel", target=beside)
    assert host.final(beside)["finish_reason"] == "cancelled"


@pytest.mark.parametrize("stream", [True, False])
def test_of_a_batch_one_prompt_fails_alone(stream: bool) -> None:
    host = MemoryHost(LongEngine())
    host.hello()
    host.load()

    batch = host.send("batch", prompts=["long", "long"], stream=stream)

    assert host.final(batch)["type"] == "done"
    items = [message for message in host.messages[batch] if message["type"] == "item"]
    assert [item["error"]["code"] for item in items] == ["message_too_large"] * 2


def test_an_error_that_quotes_a_file_fits_into_a_line() -> None:
    error = WireError("model_load_failed", LONG, data={"file": LONG, "reason": "tokenizer"})

    line = encode(error_reply("r", error))

    assert len(line) < 40_000
    assert json.loads(line)["error"]["data"]["reason"] == "tokenizer"
