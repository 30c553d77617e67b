"""A save of the prompt cache never costs the host another file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.engine import LoadOptions
from mlxwire_worker.mlx_engine import MlxEngine
from support.tiny_model import TINY


def test_a_save_replaces_a_saved_cache_and_no_other_file(tmp_path: Path) -> None:
    engine = MlxEngine()
    engine.preload()
    engine.load(LoadOptions(path=str(TINY), warmup=False), lambda *_: None)
    precious = tmp_path / "notes.txt"
    precious.write_text("precious")
    with pytest.raises(WireError) as refused:
        engine.save_cache(str(precious))
    assert refused.value.field == "path"
    assert precious.read_text() == "precious"
    for _ in range(2):
        engine.save_cache(str(tmp_path / "cache.safetensors"))
    engine.unload()
    engine.close()
