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


def full(*_: object) -> None:
    raise RuntimeError("no memory is left")


@pytest.mark.parametrize("decodes", [True, False], ids=["decoding", "waiting"])
def test_a_row_whose_cache_cannot_be_kept_leaves_all_the_same(
    open_model: Open, monkeypatch: pytest.MonkeyPatch, decodes: bool
) -> None:
    direct = open_model("qwen3")
    stays = direct.add(direct.prepare("one two three", max_tokens=20, ignore_eos=True))
    guest = direct.prepare("four five " * 200, max_tokens=100, ignore_eos=True)
    direct.add(guest)
    if decodes:
        direct.decoding(guest, 2)
    monkeypatch.setattr(direct.runner._sharing, "keep", full)
    direct.engine.remove([guest])

    assert len(direct.runner) == 1
    assert [row.prompt for row in (*direct.runner._batch.rows, *direct.runner._waiting)] == [
        stays
    ]


def test_a_batch_that_cannot_drop_a_row_starts_the_others_again(
    open_model: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = open_model("qwen3")
    alone = direct.tokens("one two three", max_tokens=20, ignore_eos=True)
    stays = direct.add(direct.prepare("one two three", max_tokens=20, ignore_eos=True))
    guest = direct.add(direct.prepare("four five", max_tokens=100, ignore_eos=True))
    direct.decoding(guest, 5)
    with monkeypatch.context() as patch:
        patch.setattr(direct.runner._batch, "drop", full)
        direct.cancel([guest])
    rows = [direct.row(stays)]
    assert direct.runner._batch.rows == []
    assert list(direct.runner._waiting) == rows
    direct.finish()

    assert rows[0].generated == alone
