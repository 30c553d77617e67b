"""The tail of stderr: bounded by bytes, whatever is written."""

from __future__ import annotations

from mlxwire.stderr_ring import MAX_LINE_BYTES, StderrRing


def test_the_ring_keeps_the_last_bytes():
    ring = StderrRing(limit=8)
    for chunk in (b"abc", b"defgh", b"ij"):
        ring.feed(chunk)
    assert ring.text() == "cdefghij"
    assert ring.text(3) == "hij"


def test_a_character_that_was_cut_is_replaced():
    ring = StderrRing(limit=4)
    ring.feed("ääb".encode())
    assert ring.text() == "�äb"[-3:]


def test_lines_are_told_apart_across_chunks():
    lines = []
    ring = StderrRing(on_line=lines.append)
    for chunk in (b"on", b"e\r\ntwo\n\nth", b"ree"):
        ring.feed(chunk)
    assert lines == ["one", "two", ""]
    ring.end()
    ring.end()
    assert lines == ["one", "two", "", "three"]


def test_an_endless_line_comes_in_pieces():
    lines = []
    ring = StderrRing(on_line=lines.append)
    for _ in range(10):
        ring.feed(b"x" * MAX_LINE_BYTES)
    ring.feed(b"\n")
    assert sum(map(len, lines)) == 10 * MAX_LINE_BYTES
    assert max(map(len, lines)) == MAX_LINE_BYTES
