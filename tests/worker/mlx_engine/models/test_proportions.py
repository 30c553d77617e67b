"""A folder that asks for a million of anything is refused before a million of it is made."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from mlxwire_protocol import WireError
from mlxwire_protocol.messages import Load
from mlxwire_worker.engine import Cancelled
from mlxwire_worker.mlx_engine import MlxEngine
from mlxwire_worker.mlx_engine.models import safetensors_header, weight_files
from mlxwire_worker.mlx_engine.models.config import work
from mlxwire_worker.mlx_engine.models.config.work import (
    LARGEST_COUNT,
    BoundedWork,
    TooMuchWork,
    without_huge_counts,
)
from mlxwire_worker.mlx_engine.models.preflight import check_model
from support.direct import Direct
from support.model_worker import Models

MILLION = 10**6
MIXTURE = {
    "model_type": "mixtral",
    "layer_types": None,
    "num_experts_per_tok": 2,
    "num_local_experts": 4,
}
JAMBA = {
    "model_type": "jamba",
    "attn_layer_offset": 1,
    "attn_layer_period": 2,
    "expert_layer_offset": 1,
    "expert_layer_period": 2,
    "mamba_d_conv": 4,
    "mamba_d_state": 4,
    "mamba_expand": 2,
    "num_experts": 2,
    "num_experts_per_tok": 1,
}
COUNTS: list[dict[str, Any]] = [
    {"num_hidden_layers": MILLION},
    {"num_hidden_layers": LARGEST_COUNT},
    {**MIXTURE, "num_hidden_layers": MILLION},
    {**JAMBA, "num_hidden_layers": MILLION},
    {"model_type": "gpt2", "n_ctx": 9, "n_embd": 8, "n_head": 1, "n_layer": MILLION}
    | {"n_positions": 9, "layer_norm_epsilon": 1e-5},
    {"model_type": "qwen3_vl", "text_config": {"num_hidden_layers": MILLION}},
]


def load(models: Models, path: Path, changes: dict[str, Any]) -> WireError:
    """Load a Qwen 3 model whose config.json has other entries; return the refusal."""
    shutil.copytree(models("qwen3"), path)
    file = path / "config.json"
    config = json.loads(file.read_text())
    if "text_config" in changes:
        changes = changes | {"text_config": config | changes["text_config"]}
    file.write_text(json.dumps(config | changes))
    engine = MlxEngine()
    try:
        with pytest.raises(WireError) as raised:
            engine.load(Load(id="l", path=str(path)), lambda *_: None)
    finally:
        engine.close()
    return raised.value


@pytest.mark.parametrize("changes", COUNTS, ids=lambda changes: str(changes)[:40])
def test_a_count_out_of_proportion_is_refused_while_modules_are_made(
    models: Models, tmp_path: Path, changes: dict[str, Any]
) -> None:
    error = load(models, tmp_path / "model", changes)

    assert error.data["reason"] == "weights_do_not_fit"
    assert "too large for its weights" in error.message
    assert len(error.message) < 300


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 1e300},
        {"model_type": "llama", "num_hidden_layers": 10**10, "layer_types": None},
        {**MIXTURE, "num_local_experts": 10**12},
    ],
    ids=str,
)
def test_a_count_that_c_code_would_repeat_is_no_integer(
    models: Models, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert load(models, tmp_path / "model", changes).data["reason"] == "invalid_config"


def test_only_what_no_model_has_becomes_a_float() -> None:
    config = {"a": [LARGEST_COUNT, {"b": LARGEST_COUNT + 1}], "c": True, "d": "x"}

    changed = without_huge_counts(config)

    assert changed == config
    assert isinstance(changed["a"][0], int)
    assert isinstance(changed["a"][1]["b"], float)
    assert changed["c"] is True


ENDLESS = {
    "a comprehension": "[0 for _ in range(10**12)]",
    "a loop on one line": "for _ in range(10**12): pass",
    "a loop without a range": "n = 0\nwhile True:\n    n += 1",
    "calls": "def again():\n    return 0\nwhile True: again()",
    "modules": "from mlx import nn\nfor _ in range(10**12): nn.Module()",
    "a generator": "all(n >= 0 for n in range(10**12))",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_work_of_a_module_that_does_not_end_is_stopped(kind: str) -> None:
    before = sys.gettrace()
    with pytest.raises(TooMuchWork), BoundedWork(10, lambda: None):
        exec(ENDLESS[kind], {"__name__": "mlx_lm.models.endless"})

    assert sys.gettrace() is before


def test_a_cancel_is_heard_during_long_work() -> None:
    def heard() -> None:
        raise Cancelled

    with pytest.raises(Cancelled), BoundedWork(10, heard):
        exec(ENDLESS["a comprehension"], {"__name__": "mlx_lm.models.endless"})


def test_a_load_is_cancelled_while_its_modules_are_made(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "_LISTEN_EACH", 100)
    direct = Direct(models("qwen3"))
    before = direct.loaded
    heard: list[str] = []

    def report(stage: str, *_: int) -> None:
        heard.append(stage)
        if len(heard) > 2:  # the first two come before any module is made
            raise Cancelled

    with pytest.raises(Cancelled):
        direct.engine.load(Load(id="l", path=str(models("llama3"))), report)
    assert set(heard) == {"check"}
    assert direct.loaded is before
    assert len(direct.tokens("Hello", max_tokens=3)) == 3
    direct.close()


def test_a_header_that_would_be_read_for_seconds_is_refused(
    models: Models, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    header = json.dumps(
        {
            f"{n}": {"dtype": "U8", "shape": [1], "data_offsets": [n, n + 1]}
            for n in range(safetensors_header.MAX_HEADER_PARTS // 6)
        }
    ).encode()
    content = len(header).to_bytes(8, "little") + header
    (path / "model.safetensors").write_bytes(content)
    with pytest.raises(WireError) as raised:
        check_model(path)

    assert raised.value.data["reason"] == "damaged_shard"
    assert "too many tensors" in raised.value.message


def test_too_many_tensors_of_many_files_are_refused(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_model(models("qwen3"))
    monkeypatch.setattr(weight_files, "MAX_TENSORS", 10)
    with pytest.raises(WireError) as raised:
        check_model(models("qwen3"))

    assert raised.value.data["reason"] == "damaged_shard"


def test_settings_that_would_fill_the_memory_are_refused(
    models: Models, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    shutil.copytree(models("qwen3"), path)
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"x": [[]] * 3_000_000}))
    with pytest.raises(WireError) as raised:
        check_model(path)

    assert raised.value.data["reason"] == "too_large"
