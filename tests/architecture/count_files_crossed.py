"""Counts the source files that a chat of one token crosses, in the worker and in the client.

Run it with `.venv/bin/python -m tests.architecture.count_files_crossed`. It prints two lists.

A file is crossed if one of its functions begins or ends, on any thread, between the moment at
which the client sends the request and the moment at which it has the final message. A function
that only waits meanwhile, such as the worker's outermost loop in `serving.py`, is not seen.
Python's profile hook (`sys.setprofile`) reports each call and each return. The model is loaded
before and is not counted. Several workers are asked in turn, and only the files that all of them
cross count, since a thread that looks at its parent process now and then may do so during a chat.

The worker runs in this file's `watch_worker`, which sets the hook before the worker starts its
threads. A socket carries the commands `begin` and `end` to it, since the worker's pipes belong to
the wire. Programs that the worker starts, such as the one that renders chat templates, are not
counted.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from types import FrameType

TINY = Path(__file__).resolve().parents[2] / "testdata" / "tiny"
WORKER_PACKAGES = ("mlxwire_worker", "mlxwire_protocol")
CLIENT_PACKAGES = ("mlxwire", "mlxwire_protocol")
WATCH_WORKER = "--watch-worker"
QUIET_SECONDS = 0.2
MOST_SECONDS = 5.0
ROUNDS = 3


class Crossed:
    """The source files of some packages in which code has run since `begin`."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self._roots = {_folder(package): package for package in packages}
        self._files: set[str] = set()
        self._events = 0

    def watch(self) -> None:
        """Set the profile hook for this thread and for all threads that start later."""
        threading.setprofile(self._ran)
        sys.setprofile(self._ran)

    def begin(self) -> None:
        """Forget the files so far."""
        self._files = set()

    def end(self) -> set[str]:
        """Return the files since `begin`, once the threads have nothing left to do.

        A worker has to tidy up after the final message; how soon it does so depends on the
        machine, and the list must not.
        """
        files, deadline = self._files, time.monotonic() + MOST_SECONDS
        seen = -1
        while seen != self._events and time.monotonic() < deadline:
            seen = self._events
            time.sleep(QUIET_SECONDS)
        return set(filter(None, map(self._name, files)))

    def _ran(self, frame: FrameType, _event: str, _argument: object) -> None:
        self._files.add(frame.f_code.co_filename)
        self._events += 1

    def _name(self, file: str) -> str:
        """Return the file's path from its package on, or nothing for a file of no package."""
        for root, package in self._roots.items():
            if file.startswith(root):
                return package + file.removeprefix(root)
        return ""


def _folder(package: str) -> str:
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent)


def watch_worker(address: str, arguments: list[str]) -> None:
    """Run a worker in this process; count when the parent says so over the socket."""
    crossed = Crossed(WORKER_PACKAGES)
    parent = Client(address, "AF_UNIX")
    threading.Thread(target=_obey, args=(parent, crossed), daemon=True).start()
    sys.argv[1:] = arguments
    from mlxwire_worker.__main__ import main

    crossed.watch()
    main()


def _obey(parent: Connection, crossed: Crossed) -> None:
    """Serve the parent's commands. This thread started before the hook was set."""
    while True:
        if parent.recv() == "begin":
            crossed.begin()
            parent.send(None)
        else:
            parent.send(crossed.end())


def count(model_path: Path) -> dict[str, set[str]]:
    """Return the files that the chat crosses, under ``worker`` and ``client``."""
    rounds = [asyncio.run(_chat(model_path)) for _ in range(ROUNDS)]
    return {end: set.intersection(*(each[end] for each in rounds)) for end in rounds[0]}


async def _chat(model_path: Path) -> dict[str, set[str]]:
    import mlxwire

    crossed = Crossed(CLIENT_PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        address = str(Path(folder) / "control")
        with Listener(address, "AF_UNIX") as listener:
            command = [sys.executable, __file__, WATCH_WORKER, address]
            async with mlxwire.Worker(command) as worker:
                control = listener.accept()
                model = await worker.load(str(model_path))
                _tell(control, "begin")
                crossed.watch()
                crossed.begin()
                await model.chat("hello", max_tokens=1).text()
                sys.setprofile(None)
                threading.setprofile(None)
                return {"worker": _tell(control, "end"), "client": crossed.end()}


def _tell(control: Connection, word: str) -> set[str]:
    control.send(word)
    answer: set[str] = control.recv()
    return answer


def main() -> None:
    """Print both lists."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", nargs="?", type=Path, default=TINY, help="a model's folder")
    for end, files in count(parser.parse_args().model).items():
        print(f"{end}: {len(files)} files", *sorted(files), sep="\n  ")


if __name__ == "__main__":
    if sys.argv[1:2] == [WATCH_WORKER]:
        watch_worker(sys.argv[2], sys.argv[3:])
    else:
        main()
