"""`min_tokens`: nothing ends a text before, and there is always a token to choose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlxwire_worker.output.text import TextAssembler
from mlxwire_worker.prompts import Detokenizer
from support.direct import Direct
from support.model_worker import Models, ModelWorker
from support.tiny_model import TINY


class Letters(Detokenizer):
    """Each token is a character."""

    def add_token(self, token: int) -> str:
        return chr(token)

    def text_of(self, token: int) -> str:
        return chr(token)

    def finalize(self) -> str:
        return ""


def until_stopped(text: str, *stops: str, min_tokens: int) -> str:
    """Return the part of a text that is sent, with a character a token."""
    assembler = TextAssembler(Letters(), stops, min_tokens)
    sent = ""
    for letter in text:
        sent += assembler.add_token(ord(letter))
        if assembler.stopped:
            return sent
    return sent + assembler.finish()


@pytest.mark.parametrize(
    ("min_tokens", "sent"),
    [(0, ""), (2, ""), (3, "END-"), (6, "END-"), (7, "END-END"), (99, "END-END")],
)
def test_a_stop_string_within_the_first_tokens_is_text(min_tokens: int, sent: str) -> None:
    assert until_stopped("END-END", "END", min_tokens=min_tokens) == sent


def test_a_stop_string_that_came_too_early_does_not_stop_later_while_another_is_held() -> None:
    assert until_stopped("abx--b.", "abcd", "b", min_tokens=2) == "abx--"


def test_every_token_can_be_a_stop_token_only_without_a_minimum(worker: ModelWorker) -> None:
    worker.use(TINY)
    vocabulary = worker.ask("info")["vocab_size"]
    everything = list(range(vocabulary))
    assert worker.generate("Hello", stop_tokens=everything) == ("", [])
    ways: list[dict[str, Any]] = [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_p": 0.5}]
    for options in ways:
        error = worker.refusal(
            "generate", prompt="Hello", stop_tokens=everything, min_tokens=1, **options
        )
        assert (error["code"], error["data"]["field"]) == ("invalid_params", "stop_tokens")

        (only,) = everything[5:6]
        rest = [token for token in everything if token != only]
        _, ids = worker.generate(
            "Hello", stop_tokens=rest, min_tokens=3, max_tokens=3, ignore_eos=True, **options
        )
        assert ids == [only] * 3


def test_an_end_of_text_past_the_vocabulary_is_none(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    file = path / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"eos_token_id": [3, 10**6, -1, 2**40, "2", [2]]}))
    (path / "generation_config.json").unlink(missing_ok=True)
    model = Direct(path)
    try:
        assert 3 in model.loaded.eos_ids
        assert all(0 <= token < model.info.vocab_size for token in model.loaded.eos_ids)
        assert len(model.tokens("Hello", min_tokens=4, max_tokens=4)) == 4
    finally:
        model.close()
