"""The ids that end a text are found in every place where a folder may declare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlxwire_worker.mlx_engine.models.end_of_text import end_ids
from support.model_worker import ModelWorker
from support.refusals import assert_refused

LLAMA: dict[str, Any] = {"model_type": "llama"}


@pytest.mark.parametrize(
    ("config", "generation", "own", "expected"),
    [
        ({"eos_token_id": 5}, {}, None, {5}),
        ({"eos_token_id": [5, 6]}, {}, None, {5, 6}),
        ({"eos_token_id": 5}, {"eos_token_id": [7]}, None, {7}),
        ({"eos_token_id": 5}, {"eos_token_id": 0}, None, {0}),
        ({"eos_token_id": 5}, {"eos_token_id": None}, None, {5}),
        ({"text_config": {"eos_token_id": 5}}, {}, None, {5}),
        ({"eos_token_id": 6, "text_config": {"eos_token_id": 5}}, {}, None, {6}),
        ({"text_config": None}, {}, 3, {3}),
        ({"eos_token_id": 5}, {}, 3, {3, 5}),
        ({"eos_token_id": [-1, 5, 99]}, {}, None, {5}),
        ({"eos_token_id": 5}, {"eos_token_id": [True, "2", 2.5, [2], None]}, None, {5}),
        ({}, {}, None, set()),
        ({}, {}, 99, set()),
    ],
)
def test_ids_come_from_the_first_place_and_the_tokenizer(
    config: dict[str, Any], generation: dict[str, Any], own: int | None, expected: set[int]
) -> None:
    assert end_ids(LLAMA | config, generation, own, 99) == expected


def test_an_architecture_may_have_defaults() -> None:
    assert end_ids({"model_type": "muse_spark"}, {}, None, 201_000) == {200001, 200008}


@pytest.mark.parametrize("text", ["{", "[]", '{"eos_token_id": 1', "\ufeff{}"])
def test_a_damaged_generation_config_is_refused_by_name(
    loaded: ModelWorker, copy: Path, text: str
) -> None:
    (copy / "generation_config.json").write_text(text)

    message = assert_refused(loaded, copy, "model_load_failed", "invalid_json")

    assert "generation_config.json" in message
