"""The tail of stderr: bounded by bytes, whatever is written."""

from __future__ import annotations

from mlxwire.process.stderr_ring import MAX_LINE_BYTES, StderrRing


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


def test_a_line_without_an_end_is_told_before_it_ends():
    lines = []
    ring = StderrRing(on_line=lines.append)
    ring.feed(b"x" * (3 * MAX_LINE_BYTES + 1))
    assert [len(line) for line in lines] == [MAX_LINE_BYTES] * 3


def test_a_line_of_the_greatest_length_is_one_line():
    lines = []
    ring = StderrRing(on_line=lines.append)
    ring.feed(b"x" * MAX_LINE_BYTES)
    ring.feed(b"\n")
    assert [len(line) for line in lines] == [MAX_LINE_BYTES]


def test_a_great_line_that_comes_at_once_is_told_whole():
    lines = []
    ring = StderrRing(on_line=lines.append)
    ring.feed(b"a" * MAX_LINE_BYTES + b"b" * MAX_LINE_BYTES + b"c\nnext\n")
    assert lines == ["a" * MAX_LINE_BYTES, "b" * MAX_LINE_BYTES, "c", "next"]
