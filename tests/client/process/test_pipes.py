"""The ends of a child's pipes on the loop: over real pipes, without a child."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import Iterator
from io import FileIO

import pytest

from mlxwire.process.pipes import LAST_READS, PipeReader, PipeWriter

MUCH = 1 << 20
"""More than any pipe holds."""


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Return the reading and the writing end of a pipe; a test may close either."""
    read_fd, write_fd = os.pipe()
    with FileIO(read_fd, "rb") as read_end, FileIO(write_fd, "wb") as write_end:
        yield read_end, write_end


class Reader:
    """A `PipeReader`, what it read, and how often it ended."""

    def __init__(self, end: FileIO | int) -> None:
        fd = end if isinstance(end, int) else end.fileno()
        self.chunks: list[bytes] = []
        self.ends = 0
        self.changed = asyncio.Event()
        self.reader = PipeReader(asyncio.get_running_loop(), fd, self._take, self._end)

    def _take(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.changed.set()

    def _end(self) -> None:
        self.ends += 1
        self.changed.set()

    async def change(self) -> None:
        self.changed.clear()
        await self.changed.wait()


def broken() -> None:
    pytest.fail("the pipe is not broken")


async def drained(read_end: FileIO, count: int) -> bytes:
    """Read ``count`` bytes from the other end, as they come."""
    reader = Reader(read_end)
    while sum(map(len, reader.chunks)) < count:
        await reader.change()
    reader.reader.close()
    return b"".join(reader.chunks)


async def test_a_reader_ends_once_and_is_not_watched_any_more(pipe):
    read_end, write_end = pipe
    reader = Reader(read_end)
    write_end.write(b"the last")
    write_end.close()
    while not reader.ends:
        await reader.change()
    assert not asyncio.get_running_loop().remove_reader(read_end.fileno())
    reader.reader.read_rest()
    assert (reader.chunks, reader.ends) == ([b"the last"], 1)


async def test_a_descriptor_that_can_not_be_read_has_ended():
    ours, theirs = pty.openpty()
    reader = Reader(ours)
    asyncio.get_running_loop().set_exception_handler(lambda *_: reader.changed.set())
    os.close(theirs)  # Linux answers EIO from now on
    await reader.change()
    assert (reader.chunks, reader.ends) == ([], 1)
    os.close(ours)


async def test_a_closed_reader_hears_nothing_and_may_be_closed_again(pipe):
    read_end, write_end = pipe
    reader = Reader(read_end)
    reader.reader.close()
    reader.reader.close()
    write_end.write(b"too late")
    assert not asyncio.get_running_loop().remove_reader(read_end.fileno())
    reader.reader.read_rest()
    assert reader.chunks == []


async def test_the_rest_is_what_the_pipe_holds_now(pipe, monkeypatch):
    read_end, write_end = pipe
    reader = Reader(read_end)
    write_end.write(b"rest")
    reads, read = [], os.read
    monkeypatch.setattr(os, "read", lambda *args: reads.append(args) or read(*args))
    reader.reader.read_rest()
    assert (reader.chunks, reader.ends) == ([b"rest"], 0)
    assert len(reads) == 2
    reader.reader.close()


async def test_the_rest_is_bounded_where_somebody_still_writes(pipe, monkeypatch):
    reader = Reader(pipe[0])
    monkeypatch.setattr(os, "read", lambda *_: b"more")
    reader.reader.read_rest()
    assert reader.chunks == [b"more"] * LAST_READS
    reader.reader.close()


async def test_what_a_pipe_does_not_take_at_once_follows_whole_and_in_order(pipe):
    read_end, write_end = pipe
    writer = PipeWriter(asyncio.get_running_loop(), write_end.fileno(), broken)
    lines = [bytes([number]) * MUCH for number in range(3)]
    for line in lines:
        writer.write(line)
    assert await drained(read_end, 3 * MUCH) == b"".join(lines)
    assert not asyncio.get_running_loop().remove_writer(write_end.fileno())
    writer.write(b"at once")
    assert read_end.read(100) == b"at once"
    writer.close()


async def test_a_closed_writer_drops_what_waits_and_what_comes(pipe):
    read_end, write_end = pipe
    writer = PipeWriter(asyncio.get_running_loop(), write_end.fileno(), broken)
    lines = [b"a" * MUCH, b"b" * MUCH]
    before = [sys.getrefcount(line) for line in lines]
    writer.write(lines[0])
    writer.write(lines[1])
    writer.close()
    writer.close()
    assert not asyncio.get_running_loop().remove_writer(write_end.fileno())
    assert [sys.getrefcount(line) for line in lines] == before
    os.set_blocking(read_end.fileno(), False)
    assert set(read_end.read(MUCH)) == {ord("a")}
    writer.write(b"too late")
    assert read_end.read(MUCH) is None


async def test_a_broken_pipe_is_told_once(pipe):
    read_end, write_end = pipe
    told: list[bool] = []
    writer = PipeWriter(
        asyncio.get_running_loop(), write_end.fileno(), lambda: told.append(True)
    )
    read_end.close()
    writer.write(b"a")
    writer.write(b"b")
    assert told == [True]


async def test_a_pipe_that_breaks_while_it_is_full_is_told_too(pipe):
    read_end, write_end = pipe
    told = asyncio.Event()
    writer = PipeWriter(asyncio.get_running_loop(), write_end.fileno(), told.set)
    writer.write(b"a" * MUCH)
    read_end.close()
    await told.wait()
    assert not asyncio.get_running_loop().remove_writer(write_end.fileno())
