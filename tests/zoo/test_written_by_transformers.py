"""A config.json that transformers 5 has written anew is read as the published one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from factories.models import write_json
from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.models.module_tree import build_tree
from mlxwire_worker.mlx_engine.models.preflight import check_model

Built = Callable[[str], Path]

UNLIKE = {
    "bailing_hybrid": "it writes the size of the rotated part as `head_dim`",
    "bailing_hybrid as bailing_moe_v3": "as bailing_hybrid",
    "muse_glimmer": "it nests the text model",
    "step3p5": "it writes heads of sliding layers into `per_layer_config`",
}
"""Why mlx-lm can't read what transformers writes; a load finds that the shapes do not fit."""

TOKENS = mx.array([[5, 17, 33, 99, 4, 250, 7, 81, 44, 3, 12, 19]])


def logits(folder: Path) -> mx.array:
    """Compute the logits [1, T, V] of a folder with the weights as they are stored."""
    found: mx.array = build_tree(check_model(folder), lambda: None).model(TOKENS)
    return found


def test_what_transformers_writes_is_read_alike(
    known_animal: str, built: Built, tmp_path: Path
) -> None:
    folder = built(known_animal)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    written = CONFIG_MAPPING[config.pop("model_type")](**config).to_dict()
    config = json.loads(json.dumps(written, default=str))
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "config.json").unlink()
    write_json(tmp_path / "config.json", config)

    if known_animal in UNLIKE:
        with pytest.raises(WireError, match="fit together"):
            logits(tmp_path)
        return
    assert mx.array_equal(logits(tmp_path), logits(folder))
