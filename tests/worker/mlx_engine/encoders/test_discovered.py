"""Encoders on disk are described as a load describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factories.encoders import ENCODERS, build_encoder, quantize_encoder
from mlxwire_worker.mlx_engine import MlxEngine
from support.vectors import Vectors

FIELDS = (
    *("model_type", "vocab_size", "layers", "hidden_size", "context_len", "parameters"),
    *("quant_bits", "quant_group", "quant_mode", "chat_template", "pooling", "capabilities"),
)


def found(path: Path, *, full: bool = False) -> dict[str, Any]:
    """Return the description of the one model of a folder, or its error's code and reason."""
    engine = MlxEngine()
    (each,) = filter(None, engine.find_models([str(path)], hub_cache=False, full=full))
    if each.error is not None:
        return {"code": each.error.code, "reason": each.error.data["reason"]}
    assert each.described is not None
    return dict(each.described)


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_is_described_as_a_load_does(tmp_path: Path, kind: str) -> None:
    labels = 1 if kind in ("bert", "electra") else 0
    path = build_encoder(kind, tmp_path / kind, labels=labels, limits={"max_seq_length": 9})
    if kind == "bert":
        path = quantize_encoder(path, tmp_path / "quantized")
    engine = Vectors().load(path, compute_dtype="stored")
    info = engine.info
    engine.close()

    described = found(path)

    assert {name: described[name] for name in FIELDS} == {
        name: getattr(info, name) for name in FIELDS
    }
    assert described["weight_bytes"] == info.weight_bytes


def test_a_full_check_builds_the_encoder(tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "sound")
    broken = build_encoder("bert", tmp_path / "broken", config={"intermediate_size": 50})

    assert found(path, full=True)["capabilities"]["embed"] is True
    assert found(broken, full=True)["reason"] == "weights_do_not_fit"


def test_an_encoder_that_is_not_computed_has_the_error_of_a_load(tmp_path: Path) -> None:
    path = build_encoder("bert", tmp_path / "cnn")
    modules = json.loads((path / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.CNN"
    (path / "modules.json").write_text(json.dumps(modules))

    assert found(path) == {"code": "unsupported_model", "reason": "embedding"}
