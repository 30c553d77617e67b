"""A command writes where it was told to, or nothing: not through links, and not onto a full disk."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxwire_protocol import WireError
from mlxwire_worker.mlx_engine.models.data_file import DataFile
from mlxwire_worker.mlx_engine.models.paths import PathPolicy
from support.driver import WORKER, Driver
from support.tiny_model import TINY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Create a data root with a folder in it, and a folder beside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "below").mkdir(parents=True)
    return tmp_path / "root"


def named(root: Path, place: str) -> DataFile:
    return PathPolicy((), (str(root),), allow_hub=False).output(str(root / place))


def write(file: DataFile, content: bytes = b"new") -> None:
    with file.replacing(lambda _: True) as stream:
        stream.write(content)


def test_a_file_is_written_for_its_user_alone_and_folders_are_created(root: Path) -> None:
    write(named(root, "a/b/file"))

    assert (root / "a/b/file").read_bytes() == b"new"
    assert stat.S_IMODE((root / "a/b/file").stat().st_mode) == 0o600
    assert [each.name for each in (root / "a/b").iterdir()] == ["file"]


def link_the_folder(root: Path) -> None:
    (root / "below").rmdir()
    (root / "below").symlink_to(root.parent / "outside")


def link_a_folder_above(root: Path) -> None:
    (root / "below" / "deep").mkdir()
    (root / "below").rename(root / "moved")
    (root.parent / "outside" / "deep").mkdir()
    (root / "below").symlink_to(root.parent / "outside")


def link_the_file(root: Path) -> None:
    (root.parent / "outside" / "file").write_bytes(b"kept")
    (root / "below" / "file").symlink_to(root.parent / "outside" / "file")


@pytest.mark.parametrize(
    ("place", "exchange"),
    [
        ("below/file", link_the_folder),
        ("below/deep/file", link_a_folder_above),
        ("below/file", link_the_file),
    ],
)
def test_a_link_put_in_place_after_the_check_is_not_followed(
    root: Path, place: str, exchange: Callable[[Path], None]
) -> None:
    file = named(root, place)
    exchange(root)
    before = {
        path: path.is_file() and path.read_bytes() for path in root.parent.rglob("outside/**")
    }

    with pytest.raises(WireError) as refused:
        write(file)
    with pytest.raises(OSError), file.reading():  # noqa: PT011 (ENOTDIR or ELOOP, by system)
        pass

    assert (refused.value.code, refused.value.data) == ("invalid_params", {"field": "path"})
    after = {
        path: path.is_file() and path.read_bytes() for path in root.parent.rglob("outside/**")
    }
    assert after == before


@pytest.mark.parametrize("target", ["outside/file", "root/below/other", "root/below/file"])
def test_a_link_in_place_of_the_partial_file_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _count: "known")
    partial = root / "below/.mlxwire-known.partial"
    partial.symlink_to(root.parent / target)

    with pytest.raises(WireError) as refused:
        write(named(root, "below/file"))

    assert refused.value.data == {"field": "path"}
    assert [path for path in root.parent.rglob("*") if path.is_file()] == []


def test_a_file_of_something_else_is_left_as_it_is(root: Path) -> None:
    (root / "file").write_bytes(b"kept")

    with pytest.raises(WireError), named(root, "file").replacing(lambda _: False):
        pytest.fail("the block was entered")

    assert (root / "file").read_bytes() == b"kept"


@pytest.mark.parametrize("kind", ["a pipe", "a folder"])
def test_what_is_no_regular_file_is_refused_without_waiting(root: Path, kind: str) -> None:
    place = root / "below" / "file"
    os.mkfifo(place) if kind == "a pipe" else place.mkdir()

    for attempt in (write, lambda file: file.reading().__enter__()):
        with pytest.raises(WireError) as refused:
            attempt(named(root, "below/file"))
        assert "regular file" in refused.value.message


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
@pytest.mark.parametrize("call", ["mkdir", "fsync", "rename"])
def test_a_disk_that_fills_up_is_unavailable_and_leaves_the_old_file(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: int, call: str
) -> None:
    (root / "below/file").write_bytes(b"kept")

    def fail(*_args: object, **_options: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(WireError) as refused:
        write(named(root, "below/file"))

    folder = str(root / "below")
    assert (refused.value.code, refused.value.retryable) == ("unavailable", True)
    assert refused.value.data == {"folder": folder}
    assert folder in refused.value.message
    assert (root / "below/file").read_bytes() == b"kept"
    assert [each.name for each in (root / "below").iterdir()] == ["file"]


def test_a_worker_without_descriptors_does_not_blame_the_folder(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WireError) as refused:
        write(named(root, "below/file"))

    assert (refused.value.code, refused.value.data) == ("unavailable", {})


@pytest.mark.parametrize("error", [errno.EACCES, errno.EPERM, errno.ENAMETOOLONG])
def test_a_folder_that_the_worker_may_not_write_to_is_the_requests_fault(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WireError) as refused:
        write(named(root, "below/file"))

    assert (refused.value.code, refused.value.data) == ("invalid_params", {"field": "path"})


@pytest.mark.parametrize("place", ["", ".", "below/.."])
def test_a_data_root_itself_is_no_file(root: Path, place: str) -> None:
    with pytest.raises(WireError) as refused:
        write(named(root, place))

    assert (refused.value.code, refused.value.data) == ("invalid_params", {"field": "path"})


@pytest.mark.parametrize("place", ["/", "."])
def test_a_folder_is_no_file(root: Path, place: str) -> None:
    with pytest.raises(WireError) as refused:
        write(PathPolicy((), (), allow_hub=False).output("/" if place == "/" else str(root)))

    assert refused.value.data == {"field": "path"}


def test_a_save_beyond_the_limit_of_file_sizes_fails_alone(tmp_path: Path) -> None:
    """Check a whole worker, which can't keep compiled kernels either."""
    command = ["/bin/sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *WORKER]
    with Driver(command=command) as worker:
        worker.hello()
        worker.load(str(TINY), warmup=False)
        worker.ask("generate", prompt="Once upon a time there was", max_tokens=9)
        error = worker.ask("cache", action="save", path=str(tmp_path / "saved"))["error"]

        assert (error["code"], error["data"]) == ("unavailable", {"folder": str(tmp_path)})
        assert "ulimit -f" in error["message"]
        assert list(tmp_path.iterdir()) == []
        assert worker.ask("generate", prompt="Once", max_tokens=1)["type"] == "done"
