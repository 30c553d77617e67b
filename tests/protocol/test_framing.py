"""Lines out of bytes, whatever the chunks (SPEC §1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxwire_protocol.framing import PREFIX_BYTES, Line, LineSplitter, Overlong
from protocol.framing_vectors import FramingVector, load_vectors

VECTORS = load_vectors()
SHORT = 4096


def split(chunks: Iterable[bytes], cap: int) -> tuple[list[Line], Line | None]:
    splitter = LineSplitter(cap)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines, splitter.end()


def cuts(stream: bytes) -> Iterator[int]:
    """Return every place to cut a short stream; of a long one its ends and its line ends."""
    if len(stream) <= SHORT:
        yield from range(len(stream) + 1)
        return
    places = {1, 2, 511, 512, 513, len(stream) // 2, len(stream) - 1}
    for position in [index for index in range(len(stream)) if stream[index] == 0x0A][:8]:
        places |= {position - 1, position, position + 1}
    yield from sorted(place for place in places if 0 <= place <= len(stream))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
class TestVectors:
    def test_a_stream_fed_whole_gives_its_lines(self, vector: FramingVector) -> None:
        expected = (vector.lines, vector.end)
        assert split([vector.stream], vector.max_line_bytes) == expected

    def test_a_stream_cut_in_two_anywhere_gives_its_lines(self, vector: FramingVector) -> None:
        for cut in cuts(vector.stream):
            chunks = [vector.stream[:cut], vector.stream[cut:]]
            assert split(chunks, vector.max_line_bytes) == (vector.lines, vector.end), cut

    def test_a_stream_in_small_pieces_gives_its_lines(self, vector: FramingVector) -> None:
        size = 1 if len(vector.stream) <= SHORT else 1 + len(vector.stream) // 2000
        chunks = (
            vector.stream[start : start + size] for start in range(0, len(vector.stream), size)
        )
        assert split(chunks, vector.max_line_bytes) == (vector.lines, vector.end)


def naive(stream: bytes, cap: int) -> tuple[list[Line], Line | None]:
    """Return the lines of a whole stream, by the letter of the specification."""

    def judge(raw: bytes) -> list[Line]:
        line = raw[:-1] if raw.endswith(b"\r") else raw
        if len(line) > cap:
            return [Overlong(line[:PREFIX_BYTES])]
        return [line] if line.strip(b" \t\r") else []

    *ended, rest = stream.split(b"\n")
    lines = [line for raw in ended for line in judge(raw)]
    return lines, next(iter(judge(rest)), None)


@given(
    pieces=st.lists(
        st.sampled_from([b"\n", b"\r", b"\r\n", b"{}", b" ", b"\x0b", b"\xf0\x9f", b"x" * 7])
        | st.binary(max_size=12),
        max_size=30,
    ),
    cap=st.integers(1, 24),
)
def test_any_chunks_give_the_lines_of_the_whole(pieces: list[bytes], cap: int) -> None:
    assert split(pieces, cap) == naive(b"".join(pieces), cap)


@given(
    length=st.integers(PREFIX_BYTES - 3, PREFIX_BYTES + 3),
    cut=st.integers(0, PREFIX_BYTES + 5),
    ending=st.sampled_from([b"\n", b"\r\n", b"\r\r\n", b"\r"]),
)
def test_a_discarded_lines_prefix_does_not_depend_on_the_chunks(
    length: int, cut: int, ending: bytes
) -> None:
    stream = b"x" * length + ending
    assert split([stream[:cut], stream[cut:]], 64) == naive(stream, 64)


def test_a_splitter_can_be_used_again_after_its_end() -> None:
    splitter = LineSplitter(8)
    splitter.feed(b"x" * 100)
    assert isinstance(splitter.end(), Overlong)
    assert splitter.feed(b"{}\n") == [b"{}"]
    assert splitter.end() is None


def test_a_discarded_line_is_not_kept_in_memory() -> None:
    splitter = LineSplitter(1000)
    for _ in range(100):
        splitter.feed(b"x" * 1000)
    assert len(splitter._tail) <= PREFIX_BYTES + 1


class Watched(bytearray):
    """The bytes of an unfinished line, and how many of them were looked at again."""

    looked_at = 0

    def _counting(name: str) -> Any:  # noqa: N805 (a helper of the class's body)
        inherited = getattr(bytearray, name)

        def look(self: Watched, *given: Any) -> Any:
            self.looked_at += len(self)
            return inherited(self, *given)

        return look

    find, rfind, index, count = map(_counting, ("find", "rfind", "index", "count"))
    split, partition, splitlines = map(_counting, ("split", "partition", "splitlines"))
    __contains__, __iter__, __add__ = map(_counting, ("__contains__", "__iter__", "__add__"))

    def __bytes__(self) -> bytes:
        self.looked_at += len(self)
        return bytes(memoryview(self))


@pytest.mark.parametrize(("size", "count"), [(1024, 2000), (1, 50_000)])
def test_no_piece_of_a_long_line_is_looked_at_again_when_another_comes(
    size: int, count: int
) -> None:
    splitter = LineSplitter()
    splitter._tail = watched = Watched()
    for _ in range(count):
        splitter.feed(b"x" * size)

    assert splitter.feed(b"\n") == [b"x" * size * count]
    assert splitter._tail is watched
    assert watched.looked_at == size * count
