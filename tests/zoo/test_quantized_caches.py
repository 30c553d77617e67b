"""With quantized keys and values, each kind of model answers in every operation as it does alone.

The model alone is one pass over all tokens into fresh quantized caches: no batch, slice or reuse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlxwire_worker.mlx_engine.cache.policy import CachePolicy
from support.direct import Direct

from . import scenes
from .builder import build, load_alone
from .configurations import CONFIGURATIONS
from .judge import Alone, Judge
from .scenes import SCENES, Visit

QUANTIZED: dict[str, Any] = {"kv_bits": 8, "kv_group_size": 32}

LATENT = {"kv_lora_rank": 32, "qk_rope_head_dim": 32}


def _inner(name: str, **fields: Any) -> dict[str, Any]:
    return {"text_config": {**CONFIGURATIONS[name]["text_config"], **fields}}


KINDS: dict[str, dict[str, Any]] = {
    "gpt_oss": {"head_dim": 32},  # windows beside full attention; sinks, so read dequantized
    "lfm2": {"hidden_size": 128, "block_dim": 128},  # convolutions beside attention
    "deepseek_v3": LATENT,  # latent, so read dequantized
}
"""A model for each way of keeping and reading keys and values, as wide as a group."""

MORE_KINDS: dict[str, dict[str, Any]] = {
    "deepseek_v32": {**LATENT, "index_head_dim": 32},  # an indexer in a list of caches
    "gemma2": {},  # an attention of its own
    "gemma3_text": {"head_dim": 32},  # norms of keys
    "gemma3n": _inner("gemma3n", head_dim=32),  # keys and values shared between layers
    "minimax_m3_vl": _inner("minimax_m3_vl", head_dim=32),  # blocks that each head chooses
    "deepseek_v2": {"qk_nope_head_dim": 32, "qk_rope_head_dim": 32, "v_head_dim": 32},
    "qwen3_next": {"head_dim": 32},  # gated delta rule beside attention
    "falcon_h1": {"head_dim": 32},  # recurrent beside attention in one layer
}

FLIPS = 10.0
"""Rounding of float32 decides now and then between two neighbours of 8 bits: up to 0.003 nats."""


QUICK = (scenes.join, scenes.second_turn, scenes.classify)
"""Rows of unlike length that come and go, reuse, and labels; the other scenes are for `make zoo`."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        every = metafunc.config.getoption("every", default=False)
        metafunc.parametrize("kind", [*KINDS, *(MORE_KINDS if every else ())])


def test_answers_as_the_model_alone_with_quantized_caches(
    kind: str, tmp_path: Path, texts: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    folder = build(kind, tmp_path, fields={**KINDS, **MORE_KINDS}[kind])
    model = load_alone(folder)
    judge = Judge(Alone(model, CachePolicy(model, **QUANTIZED).make), FLIPS)
    direct = Direct(folder, **QUANTIZED)
    try:
        visit = Visit(direct, judge, texts)
        for scene in SCENES if request.config.getoption("every", default=False) else QUICK:
            scene(visit)
    finally:
        direct.close()
    assert judge.compared > 300
    assert not judge.differences, "\n".join(judge.differences)
