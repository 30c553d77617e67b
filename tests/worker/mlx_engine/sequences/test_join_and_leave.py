"""A batch that never empties does not grow: what its rows' comings and goings leave behind."""

from __future__ import annotations

import re
from pathlib import Path

import mlx.core as mx
import pytest

from worker.mlx_engine.conftest import Open


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_no_lazy_graph_grows_with_each_row_that_comes_and_goes(
    open_model: Open, family: str, tmp_path: Path
) -> None:
    direct = open_model(family)
    engine = direct.engine
    for text in ("one two three", "four five"):  # one row alone would be no batch
        engine.add(direct.prepare(text, max_tokens=4000, ignore_eos=True, cache=False))
        engine.step()
    for number in range(20):
        guest = direct.prepare(f"guest {number} " * (1 + number % 3), cache=False)
        engine.add(guest)
        engine.step()
        engine.step()
        engine.remove([guest])

    guest = direct.prepare("the last of them", cache=False)
    engine.add(guest)
    engine.step()
    dot = tmp_path / "graph.dot"
    for layer in direct.runner._batch._layers:
        mx.export_to_dot(str(dot), layer.left_padding)
        operations = re.findall(r"shape ?= ?rectangle", dot.read_text())
        assert len(operations) < 10, dot.read_text()
