"""A worker reaches no socket, and no file outside the roots that its host opened."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from support.model_worker import ModelWorker
from support.processes import children_of
from support.tiny_model import TINY


def sockets_of(pid: int) -> list[str]:
    folder = Path(f"/proc/{pid}/fd")
    links = [os.readlink(entry) for entry in folder.iterdir() if entry.is_symlink()]
    return [link for link in links if link.startswith("socket:")]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_neither_worker_nor_helper_has_a_socket() -> None:
    with ModelWorker() as worker:
        worker.load(str(TINY))
        worker.chat([{"role": "user", "content": "hello"}], max_tokens=2)
        pids = [worker.process.pid, *children_of(worker.process.pid)]

        assert len(pids) == 2
        assert [sockets_of(pid) for pid in pids] == [[], []]


ELSEWHERE = ["outside/c", "root/../outside/c", "root/link/c", "root-beside/c", "root/link-file"]


@pytest.mark.parametrize("action", ["save", "load"])
def test_no_cache_is_written_or_read_outside_the_data_roots(
    tmp_path: Path, action: str
) -> None:
    for name in ("root", "outside", "root-beside"):
        (tmp_path / name).mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "link-file").symlink_to(tmp_path / "outside" / "c")
    with ModelWorker("--data-root", str(tmp_path / "root")) as worker:
        worker.load(str(TINY))
        worker.generate("Once upon", max_tokens=2)
        for place in ELSEWHERE:
            error = worker.refusal("cache", action=action, path=str(tmp_path / place))
            assert (error["code"], error["data"]) == ("invalid_params", {"field": "path"})
            assert "--data-root" in error["message"]

        assert not list((tmp_path / "outside").iterdir())
        saved = worker.ask("cache", action="save", path=str(tmp_path / "root" / "c"))
        assert saved["type"] == "result"


def test_without_roots_a_request_may_name_any_path(worker: ModelWorker, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model")
    worker.load(str(tmp_path / "model"))
    worker.generate("Once upon", max_tokens=2)

    assert worker.ask("cache", action="save", path=str(tmp_path / "c"))["type"] == "result"
    assert worker.ask("cache", action="load", path=str(tmp_path / "c"))["type"] == "result"


@pytest.mark.parametrize("name", ["someone/some-model", "../../some-model", "a/b/c"])
def test_without_leave_no_name_is_looked_up_elsewhere(worker: ModelWorker, name: str) -> None:
    error = worker.refusal("load", path=name)

    assert error["code"] == "model_not_found"
