"""The command `adapter`, and requests that name an adapter, through the worker's pipes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from factories.adapters import build_adapter
from support.model_worker import ModelWorker
from support.tiny_model import TINY

PROMPT = "Once upon a time there was"
OPTIONS: dict[str, Any] = {"max_tokens": 8, "ignore_eos": True}
KEYS = ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folders of two adapters of the tiny model."""
    return {
        name: build_adapter(
            TINY, tmp_path_factory.mktemp(name), seed=seed, num_layers=6, keys=KEYS
        )
        for seed, name in enumerate("ab")
    }


@pytest.fixture
def adapted(worker: ModelWorker, folders: dict[str, Path]) -> ModelWorker:
    """Return a worker with the tiny model and both adapters."""
    worker.load(str(TINY))
    for name, folder in folders.items():
        final = worker.ask("adapter", action="load", name=name, path=str(folder))
        assert [each["name"] for each in final["adapters"]][-1] == name
    return worker


def test_adapters_are_loaded_listed_and_unloaded(
    adapted: ModelWorker, folders: dict[str, Path]
) -> None:
    listed = adapted.ask("adapter")["adapters"]
    assert [(each["name"], each["path"]) for each in listed] == [
        (name, str(folder)) for name, folder in folders.items()
    ]
    assert {each["rank"] for each in listed} == {4}
    assert {each["modules"] for each in listed} == {18}
    assert adapted.ask("info")["adapters"] == listed

    left = adapted.ask("adapter", action="unload", name="a")["adapters"]

    assert left == listed[1:] == adapted.ask("adapter")["adapters"]
    error = adapted.refusal("generate", prompt=PROMPT, adapter="a")
    assert error["code"] == "invalid_params"
    assert error["data"]["field"] == "adapter"
    assert "'b'" in error["message"]


def test_each_kind_of_request_computes_with_its_adapter(adapted: ModelWorker) -> None:
    texts = {
        name: adapted.generate(PROMPT, adapter=name, **OPTIONS)[1] for name in (None, "a", "b")
    }
    assert len(set(map(tuple, texts.values()))) == 3

    def answers(cmd: str, **fields: Any) -> list[Any]:
        final = []
        for name in (None, "a", "b"):
            request = adapted.send(cmd, adapter=name, **fields)
            adapted.final(request)
            kept = [m for m in adapted.messages[request] if m["type"] in ("token", "item")]
            told = ("text", "token", "logprob", "logprobs")
            final.append([tuple(map(m.get, told)) for m in kept])
        return final

    chats = answers("chat", messages=[{"role": "user", "content": PROMPT}], **OPTIONS)
    items = answers("classify", prompts=[PROMPT, "A cat"])
    batches = answers("batch", prompts=[PROMPT], **OPTIONS)
    scores = answers("score", texts=[PROMPT, "A cat"])
    for kind in (chats, items, batches, scores):
        assert len(set(map(str, kind))) == 3
    whole = adapted.generate(PROMPT, **OPTIONS)[0]
    assert batches[0][0][0] == whole


def test_requests_at_once_equal_those_one_by_one(adapted: ModelWorker) -> None:
    names = [None, "a", "b", "a", None, "b", None, "a"]
    alone = {name: adapted.generate(PROMPT, adapter=name, **OPTIONS)[1] for name in names}

    requests = [
        adapted.send("generate", prompt=PROMPT, adapter=name, cache=False, **OPTIONS)
        for name in names
    ]

    assert [adapted._answer(each)[1] for each in requests] == [alone[name] for name in names]


def test_a_name_goes_to_the_adapter_that_was_loaded_last(
    adapted: ModelWorker, folders: dict[str, Path]
) -> None:
    second = adapted.generate(PROMPT, adapter="b", **OPTIONS)[1]

    adapted.ask("adapter", action="load", name="a", path=str(folders["b"]))

    assert adapted.generate(PROMPT, adapter="a", **OPTIONS)[1] == second
    assert [each["name"] for each in adapted.ask("adapter")["adapters"]] == ["b", "a"]


def test_a_new_model_has_no_adapters(adapted: ModelWorker) -> None:
    adapted.load(str(TINY))
    assert adapted.ask("adapter")["adapters"] == []


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"action": "load", "path": "x"}, "invalid_params", "name"),
        ({"action": "load", "name": "x"}, "invalid_params", "path"),
        ({"action": "unload"}, "invalid_params", "name"),
        ({"action": "unload", "name": "x"}, "invalid_params", "name"),
        ({"action": "unload", "name": "a", "path": "x"}, "invalid_params", "path"),
        ({"name": "a"}, "invalid_params", "name"),
        ({"action": "load", "name": "", "path": "x"}, "invalid_params", "name"),
        ({"action": "load", "name": "x", "path": "/no/such/folder"}, "model_not_found", "path"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(
    adapted: ModelWorker, fields: dict[str, Any], code: str, field: str
) -> None:
    before = adapted.ask("adapter")["adapters"]

    error = adapted.refusal("adapter", **fields)

    assert (error["code"], error["data"]["field"]) == (code, field)
    assert adapted.ask("adapter")["adapters"] == before


def test_an_adapter_past_the_memory_limit_is_refused(
    worker: ModelWorker, folders: dict[str, Path]
) -> None:
    stored = worker.load(str(TINY), compute_dtype="stored")["weight_bytes"]
    worker.load(str(TINY), compute_dtype="stored", memory_limit=stored + 1000)

    error = worker.refusal("adapter", action="load", name="a", path=str(folders["a"]))

    assert error["code"] == "out_of_memory"
    assert worker.ask("adapter")["adapters"] == []


def rewritten(folder: Path, target: Path, edit: Callable[[str, mx.array], mx.array]) -> Path:
    """Copy an adapter with other numbers."""
    shutil.copytree(folder, target)
    file = target / "adapters.safetensors"
    arrays = mx.load(str(file))
    assert isinstance(arrays, dict)
    mx.eval(arrays)
    mx.save_safetensors(str(file), {name: edit(name, each) for name, each in arrays.items()})
    return target


def test_an_adapter_that_leaves_no_numbers_is_refused(
    adapted: ModelWorker, folders: dict[str, Path], tmp_path: Path
) -> None:
    huge = rewritten(folders["a"], tmp_path / "huge", lambda _, each: each * 1e30)
    before = adapted.generate(PROMPT, **OPTIONS)

    error = adapted.refusal("adapter", action="load", name="h", path=str(huge))

    assert error["code"] == "model_load_failed"
    assert (error["data"]["reason"], error["data"]["field"]) == ("adapter", "path")
    assert [each["name"] for each in adapted.ask("adapter")["adapters"]] == ["a", "b"]
    assert adapted.generate(PROMPT, **OPTIONS) == before


def test_an_answer_without_numbers_names_its_adapter(
    adapted: ModelWorker, tmp_path: Path
) -> None:
    """The tokens of a prompt may be those that the check at the load does not meet."""
    whole = build_adapter(TINY, tmp_path / "whole", keys=["model.embed_tokens"])
    first = mx.arange(960)[:, None] == 0
    huge = rewritten(
        whole,
        tmp_path / "huge",
        lambda name, each: (
            mx.where(first, each, 1e30) if name.endswith("lora_a") else each * 1e9
        ),
    )
    adapted.ask("adapter", action="load", name="h", path=str(huge))

    asked: list[tuple[str, dict[str, Any]]] = [
        ("generate", {"prompt": PROMPT}),
        ("classify", {"prompts": [PROMPT]}),
        ("score", {"texts": [PROMPT]}),
    ]
    for cmd, fields in asked:
        error = adapted.refusal(cmd, adapter="h", **fields)
        assert (error["data"]["reason"], error["data"]["field"]) == ("adapter", "adapter")
        assert "'h'" in error["message"]


def test_the_prompt_cache_forgets_an_adapter_that_nobody_can_name(
    adapted: ModelWorker, folders: dict[str, Path]
) -> None:
    adapted.ask("cache", action="clear")
    adapted.generate(PROMPT, adapter="a", **OPTIONS)
    held = adapted.ask("cache", action="stats")["entries"]
    assert held

    adapted.ask("adapter", action="load", name="a", path=str(folders["b"]))

    assert adapted.ask("cache", action="stats")["entries"] == 0


def test_the_prompt_cache_forgets_an_adapter_after_its_last_request(
    adapted: ModelWorker,
) -> None:
    adapted.ask("cache", action="clear")
    request = adapted.send(
        "generate", prompt=PROMPT, adapter="a", max_tokens=200, ignore_eos=True
    )
    adapted.first_token(request)
    adapted.ask("adapter", action="unload", name="a")
    adapted.final(request)

    adapted.generate("x", cache=False, max_tokens=1)

    assert adapted.ask("cache", action="stats")["entries"] == 0
