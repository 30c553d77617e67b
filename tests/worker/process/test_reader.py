"""The reader meets a stdin that other processes have a hand in."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from mlxwire_worker.process.parent import ParentWatch
from mlxwire_worker.process.reader import Reader
from support.patience import PATIENCE_SECONDS


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return the two ends of a pipe whose reader never blocks, as a host may have made it."""
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for end in ends:
        os.close(end)


def test_a_stdin_that_another_reader_emptied_is_not_taken_for_its_end(
    pipe: tuple[int, int],
) -> None:
    stdin, host = pipe
    reader = Reader(stdin, host, ParentWatch(0), stalled=lambda: False)
    taken: list[bytes] = []
    thread = threading.Thread(target=lambda: taken.append(reader.read()), daemon=True)
    thread.start()

    thread.join(0.3)
    assert not taken
    os.write(host, b"a line\n")
    thread.join(PATIENCE_SECONDS)
    assert taken == [b"a line\n"]


def test_a_stdin_that_the_host_reset_has_ended() -> None:
    stdin, host = socket.socketpair()
    with stdin:
        stdin.send(b"stray output that the host never reads")
        host.close()
        reader = Reader(stdin.fileno(), stdin.fileno(), ParentWatch(0), stalled=lambda: False)

        assert reader.read() == b""
