"""The plot of a training's losses, as SVG and as PNG."""

from __future__ import annotations

import math
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from itertools import pairwise
from pathlib import Path

import pytest

from mlxwire.cli.training.loss_plot import (
    BOTTOM,
    HEIGHT,
    LEFT,
    LOSS,
    MOST_POINTS,
    RIGHT,
    TOP,
    VALIDATION,
    WIDTH,
    Losses,
    as_png,
    as_svg,
    draw,
    thinned,
    ticks,
)
from mlxwire.cli.training.png import GLYPHS
from mlxwire_protocol.training.replies import TrainProgress

SVG = "{http://www.w3.org/2000/svg}"
FALLING = [(float(step), 3.0 / step) for step in range(1, 50)]
CHECKED = [(10.0, 1.0), (40.0, 0.5)]


def pixels_of(png: bytes) -> list[bytes]:
    """Return the rows of a PNG of this module, three bytes for each pixel."""
    at, content = 8, b""
    while at < len(png):
        (length,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        part = png[at + 8 : at + 8 + length]
        check = struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0]
        assert check == zlib.crc32(kind + part)
        if kind == b"IHDR":
            assert struct.unpack(">II", part[:8]) == (WIDTH, HEIGHT)
        content += part if kind == b"IDAT" else b""
        at += 12 + length
    raw = zlib.decompress(content)
    size = 1 + 3 * WIDTH
    return [raw[row * size + 1 : (row + 1) * size] for row in range(HEIGHT)]


def test_the_curves_stay_in_their_field_and_fall_as_the_losses_do():
    lines, _ = draw(FALLING, CHECKED)
    for line in lines:
        assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM for x, y in line.points)
    curve = next(line.points for line in lines if line.colour == LOSS)
    assert all(y < later for (_, y), (_, later) in pairwise(curve))


def test_svg_and_png_have_both_curves_and_their_names():
    lines, labels = draw(FALLING, CHECKED)
    root = ElementTree.fromstring(as_svg(lines, labels))
    strokes = [line.get("stroke") for line in root.iter(f"{SVG}polyline")]
    assert {f"rgb{LOSS}", f"rgb{VALIDATION}"} < {*strokes}
    assert {"loss", "validation loss", "step"} < {text.text for text in root.iter(f"{SVG}text")}
    rows = pixels_of(as_png(lines, labels))
    assert all(any(bytes(colour) in row for row in rows) for colour in (LOSS, VALIDATION))


def test_without_validation_there_is_one_curve():
    lines, labels = draw(FALLING, [])
    assert VALIDATION not in [line.colour for line in lines]
    assert "validation loss" not in [label.text for label in labels]


@pytest.mark.parametrize(
    ("least", "most"), [(0, 1), (0.013, 0.014), (3, 3), (-2, 1e6), (1e-9, 2e-9), (1, 5)]
)
def test_ticks_are_few_round_and_around_the_values(least, most):
    found = ticks(least, most)
    assert found[0] <= least <= most <= found[-1]
    assert 2 <= len(found) <= 8
    assert {*"".join(f"{tick:g}" for tick in found)} <= {*GLYPHS}


def test_of_many_points_few_are_drawn_the_last_among_them():
    many = [(float(step), 1.0) for step in range(100_003)]
    few = thinned(many)
    assert len(few) <= MOST_POINTS + 1
    assert (few[0], few[-1]) == (many[0], many[-1])
    assert thinned(CHECKED) == CHECKED


def step(number: int, loss: float, validation: float | None = None) -> TrainProgress:
    figures = dict.fromkeys(("tokens", "peak_memory_bytes"), 1)
    rest = dict.fromkeys(("learning_rate", "seconds", "tokens_per_second", "seconds_left"), 1.0)
    return TrainProgress(
        id="r",
        stage="train",
        done=number,
        total=9,
        step=number,
        loss=loss,
        validation_loss=validation,
        **figures,
        **rest,
    )


def test_losses_that_are_not_finite_are_left_out(tmp_path: Path):
    losses = Losses()
    losses.add(step(1, math.nan, math.inf))
    assert losses.write(tmp_path) == []
    losses.add(step(2, 1.5, 1.75))
    assert (losses.training, losses.validation) == ([(2, 1.5)], [(2, 1.75)])
    assert [path.name for path in losses.write(tmp_path)] == ["loss.svg", "loss.png"]
