"""An adapter that PEFT saved is read, or refused by the name of what is not served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxwire_protocol import WireError
from support.direct import Direct
from support.tiny_model import TINY

from .comparing import assert_like_peft
from .conftest import Peft

Open = Callable[[str], Direct]
QV = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
READ: dict[str, dict[str, Any]] = {
    "LoRA": QV,
    "rsLoRA": QV | {"use_rslora": True},
    "DoRA": QV | {"use_dora": True},
    "DoRA with rsLoRA": QV | {"use_dora": True, "use_rslora": True},
    "all linear layers": {"r": 2, "lora_alpha": 4, "target_modules": "all-linear"},
    "a pattern of targets": QV | {"target_modules": r".*\.[01]\.mlp\.(up|down)_proj"},
    "one module by its path": QV | {"target_modules": ["model.layers.1.mlp.up_proj"]},
    "ranks by pattern": QV | {"rank_pattern": {"v_proj": 2}},
    "alphas by pattern": QV | {"alpha_pattern": {"v_proj": 32}},
    "patterns with layers": QV
    | {
        "rank_pattern": {r"layers.0.self_attn.q_proj": 7, "q_proj": 3},
        "alpha_pattern": {r"^model.layers.1.self_attn.v_proj": 1},
        "use_rslora": True,
    },
    "layers by number": QV | {"layers_to_transform": [1]},
    "layers by number and pattern": QV
    | {"layers_to_transform": [0], "layers_pattern": "layers"},
    "excluded modules": QV | {"exclude_modules": r".*\.0\..*"},
    "dropout": QV | {"lora_dropout": 0.5},
    "gaussian start": QV | {"init_lora_weights": "gaussian"},
    "a fractional alpha": QV | {"lora_alpha": 3.5},
}
UNTIED = {
    "embedding": QV | {"target_modules": ["embed_tokens", "q_proj"]},
    "last layer": QV | {"target_modules": ["lm_head", "q_proj"]},
    "both": QV | {"target_modules": ["lm_head", "embed_tokens"]},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "whole modules": (QV | {"modules_to_save": ["norm"]}, "modules_to_save"),
    "tokens": (QV | {"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
    "biases of B": (QV | {"lora_bias": True}, "lora_bias"),
    "PiSSA": (QV | {"init_lora_weights": "pissa"}, "init_lora_weights"),
    "OLoRA": (QV | {"init_lora_weights": "olora"}, "init_lora_weights"),
    "repeated layers": (QV | {"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
    "an embedding that is the last layer": (
        QV | {"target_modules": ["embed_tokens"]},
        "tie_word_embeddings",
    ),
}


@pytest.fixture(scope="module")
def opened(models: Callable[..., Path]) -> Iterator[Open]:
    """Yield a function that loads a family to compute in float32, once."""
    loaded: dict[str, Direct] = {}

    def opens(family: str) -> Direct:
        if family not in loaded:
            loaded[family] = Direct(models(family), compute_dtype="float32")
        return loaded[family]

    yield opens
    for direct in loaded.values():
        direct.close()


@pytest.mark.parametrize("kind", READ)
def test_an_adapter_computes_what_it_does_in_peft(peft: Peft, opened: Open, kind: str) -> None:
    direct = opened("llama3")

    assert_like_peft(peft, direct, peft.save(direct.path, READ[kind]))


@pytest.mark.parametrize("kind", UNTIED)
@pytest.mark.parametrize("copies", [True, False])
def test_adapters_of_the_ends_compute_what_they_do_in_peft(
    peft: Peft, opened: Open, kind: str, copies: bool
) -> None:
    direct = opened("llama3")
    folder = peft.save(direct.path, UNTIED[kind], save_embedding_layers=copies)

    assert_like_peft(peft, direct, folder)


@pytest.mark.parametrize("kind", ["LoRA", "DoRA", "all linear layers"])
@pytest.mark.parametrize("family", ["tiny", "qwen2", "qwen3", "gemma3"])
def test_each_family_computes_what_it_does_in_peft(
    peft: Peft, opened: Open, family: str, kind: str
) -> None:
    direct = opened(family)

    assert_like_peft(peft, direct, peft.save(direct.path, READ[kind]))


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_served_is_refused_by_name(peft: Peft, opened: Open, kind: str) -> None:
    config, name = REFUSED[kind]
    direct = opened("tiny")
    folder = peft.save(TINY, config)

    with pytest.raises(WireError, match=name):
        direct.engine.load_adapter("theirs", str(folder))


def test_a_file_of_pickles_is_refused(peft: Peft, opened: Open) -> None:
    folder = peft.save(TINY, QV, safe_serialization=False)

    with pytest.raises(WireError, match="safetensors"):
        opened("tiny").engine.load_adapter("theirs", str(folder))
