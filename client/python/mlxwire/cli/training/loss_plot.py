"""The plot of a training's losses: `loss.svg` and `loss.png`, drawn without any library."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mlxwire_protocol.training.replies import TrainProgress

from .png import Canvas, Colour

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 704, 40, 356
"""The edges of the field of the curves, in pixels."""
MOST_POINTS = 2000
"""The most points of a curve; of more, every second, third, … is drawn."""
INK: Colour = (68, 68, 68)
GRID: Colour = (224, 224, 224)
LOSS: Colour = (31, 119, 180)
VALIDATION: Colour = (214, 90, 20)
TICKS = 5

Points = list[tuple[float, float]]


class Line(NamedTuple):
    """A line through points, in pixels."""

    colour: Colour
    points: Points


class Label(NamedTuple):
    """A text, whose ``anchor`` is the part of it at ``x``: its start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    colour: Colour = INK


class Losses:
    """The losses of a training, by step."""

    def __init__(self) -> None:
        self.training: Points = []
        self.validation: Points = []

    def add(self, step: TrainProgress) -> None:
        """Note the losses of a report; one that is not finite has no place in a plot."""
        if math.isfinite(step.loss):
            self.training.append((step.step, step.loss))
        if step.validation_loss is not None and math.isfinite(step.validation_loss):
            self.validation.append((step.step, step.validation_loss))

    def write(self, folder: Path) -> list[Path]:
        """Write both files, if there are losses; return their paths. Raises: OSError."""
        if not self.training:
            return []
        lines, labels = draw(self.training, self.validation)
        svg, png = folder / "loss.svg", folder / "loss.png"
        svg.write_text(as_svg(lines, labels), "utf-8")
        png.write_bytes(as_png(lines, labels))
        return [svg, png]


def draw(training: Points, validation: Points) -> tuple[list[Line], list[Label]]:
    """Return the lines and labels of a plot of both curves."""
    shown = [thinned(training), thinned(validation)]
    steps, losses = zip(*shown[0], *shown[1], strict=True)
    columns, rows = ticks(min(steps), max(steps)), ticks(min(losses), max(losses))

    def across(step: float) -> float:
        return _between(step, columns[0], columns[-1], LEFT, RIGHT)

    def down(loss: float) -> float:
        return _between(loss, rows[0], rows[-1], BOTTOM, TOP)

    lines = [Line(GRID, [(LEFT, down(row)), (RIGHT, down(row))]) for row in rows]
    lines.append(Line(INK, [(LEFT, TOP), (LEFT, BOTTOM), (RIGHT, BOTTOM)]))
    labels = [Label(LEFT - 8, down(row) + 4, f"{row:g}", "end") for row in rows]
    labels += [Label(across(step), BOTTOM + 18, f"{step:g}", "middle") for step in columns]
    labels.append(Label(RIGHT, HEIGHT - 8, "step", "end"))
    names = [("loss", LOSS), ("validation loss", VALIDATION)]
    for place, (points, (name, colour)) in enumerate(zip(shown, names, strict=True)):
        if points:
            lines.append(Line(colour, [(across(step), down(loss)) for step, loss in points]))
            labels.append(Label(LEFT + 80 * place, TOP - 16, name, "start", colour))
    return lines, labels


def ticks(least: float, most: float) -> list[float]:
    """Return some round numbers at equal distances, from at most ``least`` to at least ``most``."""
    if most <= least:
        least, most = least - 0.5, most + 0.5
    rough = (most - least) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(least / step), math.ceil(most / step)
    return [round(number * step, 12) for number in range(first, last + 1)]


def thinned(points: Sequence[tuple[float, float]]) -> Points:
    """Return at most `MOST_POINTS` of the points, the last among them."""
    every = math.ceil(len(points) / MOST_POINTS) or 1
    return [*points[:-1][::every], *points[-1:]]


def as_svg(lines: Iterable[Line], labels: Iterable[Label]) -> str:
    """Return a plot as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for colour, points in lines:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="rgb{colour}"/>')
    for x, y, text, anchor, colour in labels:
        parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="rgb{colour}">{text}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def as_png(lines: Iterable[Line], labels: Iterable[Label]) -> bytes:
    """Return a plot as PNG."""
    canvas = Canvas(WIDTH, HEIGHT)
    for colour, points in lines:
        canvas.line(points, colour)
    for x, y, text, anchor, colour in labels:
        canvas.text(x, y, text, anchor, colour)
    return canvas.encoded()


def _between(value: float, low: float, high: float, start: float, end: float) -> float:
    return start + (value - low) / (high - low) * (end - start)
