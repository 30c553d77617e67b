"""An adapter that a training wrote in PEFT's format computes in PEFT what it does here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.direct import Direct
from support.training import train

from .comparing import assert_like_peft
from .conftest import Peft

CASES: list[tuple[str, dict[str, Any]]] = [
    ("tiny", {"method": "lora"}),
    ("tiny", {"method": "dora"}),
    ("tiny", {"method": "lora", "dtype": "bfloat16"}),
    ("llama3", {"method": "lora"}),
    ("llama3", {"method": "dora"}),
    ("llama3", {"method": "lora", "layers": 1}),
    ("llama3", {"method": "lora", "keys": ["self_attn.q_proj", "mlp.down_proj"]}),
    ("qwen3", {"method": "dora"}),
    ("gemma3", {"method": "lora"}),
]


@pytest.mark.parametrize(("family", "options"), CASES)
def test_an_adapter_that_was_trained_here_computes_the_same_in_peft(
    peft: Peft,
    models: Callable[..., Path],
    tmp_path: Path,
    family: str,
    options: dict[str, Any],
) -> None:
    path = models(family)
    train(
        path,
        tmp_path / "out",
        iterations=6,
        learning_rate=1e-2,
        rank=4,
        format="peft",
        **options,
    )
    direct = Direct(path, compute_dtype="float32")
    try:
        assert_like_peft(peft, direct, tmp_path / "out")
    finally:
        direct.close()
