"""Reads JSONL files of rows to learn, and tells of each bad line before anything is computed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mlxwire_protocol import WireError, invalid_params

from .rows import BadRow, Row

MOST_TOLD = 20
"""The most bad lines that an error lists; it counts them all."""
Encode = Callable[[dict[str, Any]], Row]
Report = Callable[[int, int], None]
"""Called with the bytes that are read and those of the file; may raise to end the reading."""
_REPORT_LINES = 64


class Found(NamedTuple):
    """The files of a training; a training without validation has None for ``validation``."""

    train: Path
    validation: Path | None


def find_training(data: str, validation: str | float | None) -> Found:
    """Return the file to train on and the one to validate with. Raises: WireError."""
    path = Path(data)
    chosen = Path(validation) if isinstance(validation, str) else None
    if path.is_dir():
        train = _in_folder(path, ("train.jsonl",))
        beside = path / "valid.jsonl"
        if validation is None and beside.is_file():
            chosen = beside
    else:
        train = _file(path, "data")
    if chosen is not None:
        chosen = _file(chosen, "validation")
    return Found(train, chosen)


def find_evaluation(data: str) -> Path:
    """Return the file to evaluate: in a folder that of the tests, else of the validation."""
    path = Path(data)
    if path.is_dir():
        return _in_folder(path, ("test.jsonl", "valid.jsonl"))
    return _file(path, "data")


def _in_folder(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise invalid_params(
        "data",
        f"the folder {str(folder)!r} has no {' and no '.join(names)}; name the file itself",
    )


def _file(path: Path, field: str) -> Path:
    if not path.is_file():
        there = "is no regular file" if path.exists() else "does not exist"
        raise invalid_params(
            field, f"`{field}` is {str(path)!r}, which {there}; give a JSONL file"
        )
    return path


def read_rows(file: Path, encode: Encode, report: Report, field: str) -> list[Row]:
    """Read all rows of a file, a JSON object a line; lines of white space are left out.

    Raises: WireError ``invalid_params`` for ``field``: a file that can't be read, that has no row, or
    that has bad lines; ``data.lines`` has the number and the fault of the first of them.
    """
    rows: list[Row] = []
    bad: list[dict[str, Any]] = []
    count = done = 0
    total = 1
    try:
        total = file.stat().st_size
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                done += len(line)
                if number % _REPORT_LINES == 1:
                    report(done, total)
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if not line.strip():
                    continue
                try:
                    rows.append(encode(_decode(line)))
                except BadRow as error:
                    count += 1
                    if len(bad) < MOST_TOLD:
                        bad.append({"line": number, "reason": str(error)})
    except OSError as error:
        raise invalid_params(
            field, f"{file.name} can't be read ({error.strerror}); give a file that can be read"
        ) from None
    if bad:
        raise _bad_lines(file, field, bad, count)
    if not rows:
        raise invalid_params(
            field,
            f"{file.name} has no row; write one JSON object a line, with `messages`, with `prompt` "
            "and `completion`, or with `text`",
        )
    report(total, total)
    return rows


def _decode(line: bytes) -> dict[str, Any]:
    try:
        line.decode("utf-8")
        value = msgspec.json.decode(line)
    except UnicodeDecodeError as error:
        raise BadRow(
            f"it is not UTF-8 (byte {error.start + 1}); save the file as UTF-8"
        ) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRow(f"it is not JSON ({error}); write one JSON object a line") from None
    if not isinstance(value, dict):
        raise BadRow("it is JSON, but no object; write an object")
    return value


def _bad_lines(file: Path, field: str, bad: list[dict[str, Any]], count: int) -> WireError:
    told = "; ".join(f"line {each['line']}: {each['reason']}" for each in bad)
    more = f"; and {count - len(bad)} more" if count > len(bad) else ""
    lines = "1 bad line" if count == 1 else f"{count} bad lines"
    return invalid_params(
        field,
        f"{file.name} has {lines}: {told}{more}. Correct or remove them",
        lines=bad,
        bad_lines=count,
    )


def split(rows: list[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Draw a share of the rows for the validation, at least one, and return the others and them.

    Both keep the file's order. Raises: WireError ``invalid_params`` if no row would be left.
    """
    count = max(1, round(share * len(rows)))
    if count >= len(rows):
        raise invalid_params(
            "validation",
            f"`validation` is {share}, which leaves none of the {len(rows)} rows to train on; give "
            "a smaller share, or more rows",
        )
    drawn = set(random.Random(seed).sample(range(len(rows)), count))
    kept = [row for place, row in enumerate(rows) if place not in drawn]
    return kept, [rows[place] for place in sorted(drawn)]


def check_enough(rows: list[Row], batch_size: int, accumulation: int) -> None:
    """Refuse a set of fewer rows than a step takes. Raises: WireError ``invalid_params``."""
    wanted = batch_size * accumulation
    if len(rows) >= wanted:
        return
    parts = f"`batch_size` {batch_size}"
    if accumulation > 1:
        parts += f" times `gradient_accumulation` {accumulation}"
    field, most = "batch_size", len(rows) // accumulation
    if not most:
        field, most = "gradient_accumulation", len(rows) // batch_size or len(rows)
    raise invalid_params(
        field,
        f"a step takes {wanted} rows ({parts}), but there are {len(rows)} to train on; lower "
        f"`{field}` to at most {most}, or give more rows",
        rows=len(rows),
    )
