"""The lines of stderr that an error tells are those that can't quote what a program reads."""

from __future__ import annotations

import pytest

from mlxwire_worker.process.child.safe_lines import MOST_LINES, SafeLines


def told(*chunks: bytes) -> list[str]:
    lines = SafeLines()
    for chunk in chunks:
        lines.add(chunk)
    return lines.last()


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):",
        '  File "a b.py", line 12, in <module>',
        '  File "a.py", line 12 in step',
        "Fatal Python error: Segmentation fault",
        "Current thread 0x00007f (most recent call first):",
        "mlxwire-worker[12]: the training failed",
        "terminate called after throwing an instance of 'std::runtime_error'",
        "  what():  [metal::malloc] Attempting to allocate 5 bytes",
    ],
)
def test_a_place_and_a_signal_are_told(line: str) -> None:
    assert told(line.encode() + b"\n") == [line]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("ValueError: the row 'secret'", ["ValueError"]),
        ("json.decoder.JSONDecodeError: secret", ["json.decoder.JSONDecodeError"]),
        ("    raise ValueError(secret)", []),
        ("secret", []),
        ("secret ValueError: x", []),
        ('  File "a.py", line 12, in f secret', []),
        ("  what():  secret", []),
        ("Traceback of a secret", []),
    ],
)
def test_what_may_quote_data_is_not_told(line: str, kept: list[str]) -> None:
    assert told(line.encode()) == kept


def test_a_line_may_come_in_pieces_and_without_its_end() -> None:
    assert told(b"Fatal Python ", b"error: Abor", b"ted\nValue", b"Error: x") == [
        "Fatal Python error: Aborted",
        "ValueError",
    ]


def test_the_last_lines_are_kept_and_no_more() -> None:
    lines = told(*(b"Thread %d\n" % number for number in range(100)), b"x" * (1 << 20))

    assert lines == [f"Thread {number}" for number in range(100 - MOST_LINES, 100)]
