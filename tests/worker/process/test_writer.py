"""The writer: never blocks who puts, keeps the order, tells its backlog and a broken pipe."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mlxwire_worker.process.writer import DIRECT_BYTES, Writer, own_description
from support.patience import PATIENCE_SECONDS

PAGE = 4096


class Pipe:
    """A pipe, the writer on it, and what the writer told."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.broken = threading.Event()
        self.room = threading.Event()
        self.writer = Writer(
            self.write_end,
            on_broken=self.broken.set,
            on_room=self.room.set,
            room_bytes=1 << 18,
            stall_bytes=1 << 19,
        )
        self.writer.start()

    def fill(self, *, leave: int = 0) -> int:
        """Fill the pipe up to its last ``leave`` bytes; return how many bytes that took."""
        os.set_blocking(self.write_end, False)
        size = 0
        while select.select([], [self.write_end], [], 0)[1]:
            size += os.write(self.write_end, b"." * PAGE)
        os.set_blocking(self.write_end, True)
        return size - len(self.read(leave))

    def read(self, count: int) -> bytes:
        """Read ``count`` bytes, which must come."""
        parts = []
        while count:
            ready, _, _ = select.select([self.read_end], [], [], PATIENCE_SECONDS)
            assert ready, f"{count} bytes did not come"
            parts.append(os.read(self.read_end, count))
            count -= len(parts[-1])
        return b"".join(parts)

    def is_empty(self) -> bool:
        return not select.select([self.read_end], [], [], 0.1)[0]

    def put(self, line: bytes) -> None:
        """Put a line, which may not block."""
        promptly(lambda: self.writer.put(line))

    def close(self) -> None:
        os.close(self.read_end)


def promptly(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive(), "it blocks"


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition that another thread brings about is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not become true"
        time.sleep(0.001)


def line(size: int, letter: str = "x") -> bytes:
    return letter.encode() * (size - 1) + b"\n"


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Return a pipe whose write end stays open: the writer's thread lives as long as the tests."""
    made = Pipe()
    yield made
    if not made.broken.is_set():
        made.close()


@pytest.mark.parametrize("leave", [0, PAGE])
@pytest.mark.parametrize("size", [10, 3 * PAGE, 40 * PAGE])
def test_putting_a_line_never_waits_for_the_host(pipe: Pipe, leave: int, size: int) -> None:
    before = pipe.fill(leave=leave)
    for letter in "abc":
        pipe.put(line(size, letter))

    assert pipe.read(before) == b"." * before
    assert pipe.read(3 * size) == line(size, "a") + line(size, "b") + line(size, "c")
    assert pipe.writer.flush(PATIENCE_SECONDS)
    assert pipe.is_empty()


def test_lines_of_several_threads_stay_whole_and_each_threads_in_order(pipe: Pipe) -> None:
    def put(name: int) -> None:
        for number in range(400):
            pipe.writer.put(b"%d %d %s\n" % (name, number, b"x" * (number * 37 % 6000)))

    threads = [threading.Thread(target=put, args=(name,), daemon=True) for name in range(4)]
    for thread in threads:
        thread.start()
    received = b""
    while received.count(b"\n") < 1600:
        received += pipe.read(1)
        received += os.read(pipe.read_end, 5000)
    seen: dict[bytes, int] = {}
    for each in received.splitlines():
        name, number, text = each.split(b" ")
        assert int(number) == seen.get(name, -1) + 1
        assert len(text) == int(number) * 37 % 6000
        seen[name] = int(number)


def test_lines_held_together_come_together(pipe: Pipe) -> None:
    pipe.writer.cork()
    pipe.put(b"one\n")
    pipe.put(b"two\n")
    assert pipe.is_empty()
    pipe.writer.uncork()

    assert pipe.read(8) == b"one\ntwo\n"


def test_a_backlog_takes_the_room_stalls_and_gives_the_room_back(pipe: Pipe) -> None:
    before = pipe.fill()
    assert pipe.writer.has_room()
    pipe.put(line(1 << 18))
    assert not pipe.writer.has_room()
    assert not pipe.writer.stalled()
    pipe.put(line(1 << 18))
    assert pipe.writer.stalled()
    assert not pipe.room.is_set()

    pipe.read(before + (1 << 19))

    assert pipe.room.wait(PATIENCE_SECONDS)
    assert pipe.writer.has_room()
    assert not pipe.writer.stalled()


@pytest.mark.parametrize("size", [10, 40 * PAGE])
def test_a_flush_waits_for_the_host_as_long_as_it_is_told(pipe: Pipe, size: int) -> None:
    before = pipe.fill()
    pipe.put(line(size))
    promptly(lambda: pipe.writer.flush(0.05))
    assert not pipe.writer.flush(0.05)

    pipe.read(before + size)

    assert pipe.writer.flush(PATIENCE_SECONDS)


@pytest.mark.parametrize("size", [10, 40 * PAGE])
def test_a_host_that_is_gone_is_told_at_the_next_line(pipe: Pipe, size: int) -> None:
    pipe.close()
    pipe.put(line(size))

    assert pipe.broken.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("size", [10, 3 * PAGE, 40 * PAGE])
def test_a_pipe_that_the_host_made_non_blocking_loses_nothing(pipe: Pipe, size: int) -> None:
    before = pipe.fill(leave=PAGE)
    os.set_blocking(pipe.write_end, False)
    for letter in "ab":
        pipe.put(line(size, letter))

    pipe.read(before)

    assert pipe.read(2 * size) == line(size, "a") + line(size, "b")
    assert not pipe.broken.is_set()


def test_another_writer_of_the_hosts_pipe_that_was_faster_breaks_nothing(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = os.write, threading.Event()

    def refused_once(descriptor: int, text: bytes) -> int:
        if descriptor == pipe.write_end and not full.is_set():
            full.set()
            raise BlockingIOError
        return write(descriptor, text)

    monkeypatch.setattr(os, "write", refused_once)
    pipe.put(b"one\n")

    assert pipe.read(4) == b"one\n"
    assert not pipe.broken.is_set()


@pytest.mark.parametrize("corked", [False, True])
def test_a_line_that_comes_while_another_is_cut_short_stands_behind_it(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, corked: bool
) -> None:
    write, calls = os.write, 0

    def cut_short(descriptor: int, text: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            if corked:
                pipe.writer.cork()
            pipe.writer.put(b"second\n")
            if corked:
                pipe.writer.uncork()
            return write(descriptor, text[:2])
        if calls == 2 and not corked:
            raise BlockingIOError
        return write(descriptor, text)

    monkeypatch.setattr(os, "write", cut_short)
    pipe.put(b"first\n")

    assert pipe.read(13) == b"first\nsecond\n"


def test_a_flush_ends_with_the_write_that_it_waits_for(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, flushed = os.write, threading.Event()

    def flush() -> None:
        if pipe.writer.flush(60):
            flushed.set()

    def waited_for(descriptor: int, text: bytes) -> int:
        threading.Thread(target=flush, daemon=True).start()
        assert not flushed.wait(0.3)
        return write(descriptor, text)

    monkeypatch.setattr(os, "write", waited_for)
    pipe.put(b"one\n")

    assert flushed.wait(PATIENCE_SECONDS)


def test_room_that_a_direct_write_makes_is_told(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seen = os.write, []

    def joined_by_much(descriptor: int, text: bytes) -> int:
        if descriptor == pipe.write_end and not seen:
            pipe.writer.put(line((1 << 18) - PAGE))  # one more byte than there is room for
            seen.append(pipe.writer.has_room())
            monkeypatch.setattr(os, "write", write)
        return write(descriptor, text)

    monkeypatch.setattr(os, "write", joined_by_much)
    pipe.put(line(PAGE))

    assert seen == [False]
    assert pipe.room.wait(PATIENCE_SECONDS)
    pipe.read(1 << 18)


@pytest.mark.parametrize(("blocks", "step"), [(True, DIRECT_BYTES), (False, PAGE)])
def test_each_part_that_a_slow_host_takes_is_progress(
    pipe: Pipe, blocks: bool, step: int
) -> None:
    pipe.fill()
    os.set_blocking(pipe.write_end, blocks)
    assert pipe.writer.progress() is None
    pipe.put(line(40 * step))
    seen = [pipe.writer.progress()]
    for _ in range(40):
        pipe.read(step)
        until(lambda: pipe.writer.progress() != seen[-1])
        seen.append(pipe.writer.progress())

    until(lambda: pipe.writer.progress() is None)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a pipe still holds")
def test_each_byte_that_a_slower_host_takes_is_progress(pipe: Pipe) -> None:
    pipe.fill()
    pipe.put(line(PAGE))
    for _ in range(PAGE - 1):
        seen = pipe.writer.progress()
        pipe.read(1)
        assert pipe.writer.progress() != seen


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux opens a pipe once more")
def test_the_description_that_others_share_keeps_blocking(pipe: Pipe) -> None:
    shared = os.dup(pipe.write_end)
    own_description(pipe.write_end)

    assert os.get_blocking(shared)
    assert not os.get_blocking(pipe.write_end)
    assert not os.get_inheritable(pipe.write_end)
    os.close(shared)
