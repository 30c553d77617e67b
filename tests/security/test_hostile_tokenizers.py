"""A tokenizer, and the files beside it, made to harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factories.damage import edit_json
from support.model_worker import ModelWorker

from .hostile import Harm, assert_harmless

BROKEN = ("model_load_failed", "tokenizer")
LONG = "q" * 20_000_000
"""Quoted whole it would make an answer longer than a line may be."""


def tokenizer(edit: Callable[[Any], object]) -> Harm:
    return lambda path: edit_json(path / "tokenizer.json", edit)


def token(name: str, token_id: object) -> Harm:
    return tokenizer(lambda t: t["model"]["vocab"].update({name: token_id}))


def beside(**fields: object) -> Harm:
    return lambda path: edit_json(path / "tokenizer_config.json", lambda t: t.update(fields))


def a_folder_for(name: str) -> Harm:
    def exchange(path: Path) -> None:
        (path / name).unlink(missing_ok=True)
        (path / name).mkdir()

    return exchange


def added(**fields: object) -> Harm:
    entry = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return tokenizer(lambda t: t["added_tokens"].append({**entry, "special": True, **fields}))


REFUSED: dict[str, tuple[Harm, tuple[str, str]]] = {
    "templates of wrong types": (
        beside(chat_template={"a": 1}),
        ("model_load_failed", "chat_template"),
    ),
    "an id of 1e9": (token("zz", 10**9), BROKEN),
    "the largest id": (token("zz", 2**32 - 1), BROKEN),
    "an id past 32 bits": (token("zz", 2**33), BROKEN),
    "a negative id": (token("zz", -1), BROKEN),
    "half an id": (token("zz", 1.5), BROKEN),
    "an id of text": (token("zz", LONG), BROKEN),
    "half a character": (token("\ud800", 7), BROKEN),
    "an unknown kind": (tokenizer(lambda t: t["model"].update(type=LONG)), BROKEN),
    "a merge of nothing": (tokenizer(lambda t: t["model"]["merges"].append("zz yy")), BROKEN),
    "an added token of text": (added(id=LONG, content="zz"), BROKEN),
    "half a control token": (beside(eos_token="\ud800"), BROKEN),
    "half a first token": (beside(bos_token={"content": "x\ud800"}), BROKEN),
    "a folder": (a_folder_for("tokenizer.json"), BROKEN),
    "a folder beside it": (a_folder_for("tokenizer_config.json"), BROKEN),
    "half a template": (beside(chat_template="\ud800"), ("model_load_failed", "chat_template")),
    "a folder for a template": (
        a_folder_for("chat_template.jinja"),
        ("model_load_failed", "chat_template"),
    ),
}
BORNE: dict[str, Harm] = {
    "one id for fifty tokens": tokenizer(
        lambda t: t["model"]["vocab"].update({f"zz{n}": 5 for n in range(50)})
    ),
    "tokens past the model": tokenizer(
        lambda t: t["model"]["vocab"].update({f"zz{n}": 99_999 + n for n in range(100_000)})
    ),
    "an added id that is taken": added(id=5, content="<zz>"),
    "an added id past all": added(id=2**32 - 1, content="<zz>"),
    "an added token of nothing": added(id=703, content=""),
    "no tokens": tokenizer(lambda t: t.update(model={**t["model"], "vocab": {}, "merges": []})),
    "a first token that is none": tokenizer(
        lambda t: t.update(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "none", "type_id": 0}}],
                "pair": [],
                "special_tokens": {},
            }
        )
    ),
    "long control tokens": beside(bos_token=LONG, eos_token=LONG),
    "wrong types beside it": beside(
        bos_token={"content": 5},
        eos_token=[1],
        model_max_length="x",
        added_tokens_decoder={"x": 5, "-1": {"content": "a"}, "9" * 30: {"content": "zz"}},
    ),
    "a list beside it": lambda path: (path / "tokenizer_config.json").write_text("[1]"),
    "wrong ids of the end": lambda path: (path / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [-1, 1e300, "x", None, {"a": 1}, 2**40]})
    ),
    "an object of the end": lambda path: (path / "generation_config.json").write_text(
        json.dumps({"eos_token_id": {"a": 1}})
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_harmful_tokenizer_is_one_typed_error(
    loaded: ModelWorker, folder: Path, kind: str
) -> None:
    harm, (code, reason) = REFUSED[kind]
    harm(folder)

    assert_harmless(loaded, folder, code, reason)


@pytest.mark.parametrize("kind", BORNE)
def test_an_odd_tokenizer_costs_no_more_than_its_own_requests(
    folder: Path, kind: str, worker: ModelWorker
) -> None:
    """Check that the folder loads; its requests end with an answer or an error of their own."""
    BORNE[kind](folder)
    worker.use(folder)

    for fields in (
        {"cmd": "generate", "prompt": "a b zz1 <zz>", "max_tokens": 3},
        {"cmd": "chat", "messages": [{"role": "user", "content": "<zz>"}], "max_tokens": 3},
        {"cmd": "classify", "prompts": ["a"], "labels": ["b"]},
    ):
        final = worker.ask(**fields)  # type: ignore[arg-type]
        assert final["type"] == "done" or final["error"]["code"] in (
            "invalid_params",
            "unsupported_model",
            "unsupported_capability",
        )
    worker.ask("unload")
