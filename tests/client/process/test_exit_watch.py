"""An exit is noticed where no pidfd tells of it; macOS's own means is imitated here."""

from __future__ import annotations

import asyncio
import os
import select

import pytest

from mlxwire.process.exit_watch import POLL_SECONDS, ExitWatch
from support.virtual_time import run

PID = 4711


class Exits:
    """The exits that a watch told of, and the number of its looks."""

    def __init__(self) -> None:
        self.told = 0
        self.looks = 0
        self.ended = False

    def tell(self) -> None:
        self.told += 1

    def look(self) -> bool:
        self.looks += 1
        return self.ended

    def watch(self) -> ExitWatch:
        return ExitWatch(asyncio.get_running_loop(), PID, self.tell, self.look)


class Kqueue:
    """Stands where `select.kqueue` does: readable once the test says that the process exited."""

    made: list[Kqueue]
    fails = False

    def __init__(self) -> None:
        self._readable, self._writable = os.pipe()
        self.changes: list[dict[str, object]] = []
        self.closed = 0
        self.made.append(self)

    def fileno(self) -> int:
        return self._readable

    def control(self, changes: list[dict[str, object]], _most: int) -> None:
        if self.fails:
            raise ProcessLookupError
        self.changes += changes

    def exit(self) -> None:
        os.write(self._writable, b"!")

    def close(self) -> None:
        self.closed += 1
        if self.closed == 1:
            os.close(self._readable)
            os.close(self._writable)


@pytest.fixture
def macos(monkeypatch: pytest.MonkeyPatch) -> type[Kqueue]:
    class Fresh(Kqueue):
        made = []

    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(select, "kqueue", Fresh, raising=False)
    monkeypatch.setattr(
        select, "kevent", lambda pid, **fields: {"pid": pid, **fields}, raising=False
    )
    for bit, name in enumerate(("FILTER_PROC", "EV_ADD", "EV_ONESHOT", "NOTE_EXIT")):
        monkeypatch.setattr(select, f"KQ_{name}", 1 << bit, raising=False)
    return Fresh


@pytest.fixture
def no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)


@pytest.mark.usefixtures("no_descriptor")
def test_where_nothing_tells_a_timer_looks_until_it_has_ended():
    async def main() -> None:
        exits = Exits()
        exits.watch()
        await asyncio.sleep(10.5 * POLL_SECONDS)
        assert (exits.told, exits.looks) == (0, 11)
        exits.ended = True
        await asyncio.sleep(100 * POLL_SECONDS)
        assert (exits.told, exits.looks) == (1, 12)

    run(main())


@pytest.mark.usefixtures("no_descriptor")
def test_a_closed_watch_looks_no_more():
    async def main() -> None:
        exits = Exits()
        watch = exits.watch()
        watch.close()
        watch.close()
        exits.ended = True
        await asyncio.sleep(100 * POLL_SECONDS)
        assert (exits.told, exits.looks) == (0, 1)

    run(main())


async def test_a_kqueue_tells_of_the_exit_once_and_is_closed(macos):
    exits = Exits()
    told = asyncio.Event()
    exits.tell = told.set
    exits.watch()
    (queue,) = macos.made
    flags = select.KQ_EV_ADD | select.KQ_EV_ONESHOT
    assert queue.changes == [
        {
            "pid": PID,
            "filter": select.KQ_FILTER_PROC,
            "flags": flags,
            "fflags": select.KQ_NOTE_EXIT,
        }
    ]
    assert not told.is_set()
    queue.exit()
    await told.wait()
    assert queue.closed == 1


async def test_a_closed_watch_closes_its_kqueue_once(macos):
    watch = Exits().watch()
    watch.close()
    watch.close()
    assert [queue.closed for queue in macos.made] == [1]


async def test_a_kqueue_for_a_process_that_is_gone_gives_way_to_the_timer(macos, monkeypatch):
    monkeypatch.setattr(macos, "fails", True)
    exits = Exits()
    exits.ended = True
    told = asyncio.Event()
    exits.tell = told.set
    exits.watch()
    assert not told.is_set()  # the caller has to have its watch first
    await told.wait()
    assert [queue.closed for queue in macos.made] == [1]


async def test_a_system_without_either_has_the_timer(monkeypatch):
    monkeypatch.setattr("sys.platform", "plan9")
    exits = Exits()
    exits.ended = True
    told = asyncio.Event()
    exits.tell = told.set
    exits.watch()
    await told.wait()
