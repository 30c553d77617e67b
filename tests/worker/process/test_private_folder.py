"""Libraries and verdicts are kept where nobody else can write, and where they can be loaded from."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlxwire_worker.process import private_folder as module
from mlxwire_worker.process.private_folder import private_folder


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set a cache folder and a temporary folder below the test's own."""
    for name in ("XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(module, "_SHARED", ())
    return tmp_path


def in_temporary(folders: Path) -> Path:
    return folders / f"TMPDIR/mlxwire-{os.geteuid()}"


def refusal() -> str:
    """Return why the cache folder is not used; the temporary one must be."""
    found = private_folder()
    assert found.path is not None
    assert found.path.parent.name == "TMPDIR"
    (reason,) = found.refused
    return reason


def test_the_folder_is_created_for_this_user_alone(folders: Path) -> None:
    folder = private_folder().path

    assert folder == folders / "XDG_CACHE_HOME/mlxwire"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert private_folder() == (folder, ())
    assert not list(folder.iterdir())


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755])
def test_a_folder_that_others_may_enter_is_not_used(folders: Path, mode: int) -> None:
    (folders / "XDG_CACHE_HOME/mlxwire").mkdir()
    (folders / "XDG_CACHE_HOME/mlxwire").chmod(mode)

    assert "0700" in refusal()


def test_a_link_or_a_file_is_not_used(folders: Path) -> None:
    (folders / "elsewhere").mkdir(mode=0o700)
    (folders / "XDG_CACHE_HOME/mlxwire").symlink_to(folders / "elsewhere")
    in_temporary(folders).write_text("")

    assert private_folder().path is None


def test_a_folder_of_somebody_else_is_not_used(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders / "XDG_CACHE_HOME/mlxwire").mkdir(mode=0o700)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)

    found = private_folder()

    assert found.path is None
    assert "another user" in found.refused[0]


def test_a_folder_that_others_could_replace_is_not_used(folders: Path) -> None:
    (folders / "XDG_CACHE_HOME").chmod(0o777)
    assert "writable to all" in refusal()

    (folders / "XDG_CACHE_HOME").chmod(0o1777)
    assert private_folder().path == folders / "XDG_CACHE_HOME/mlxwire"


def test_a_folder_without_execution_is_not_used(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = folders / "XDG_CACHE_HOME/mlxwire"
    flags = lambda path: SimpleNamespace(f_flag=os.ST_NOEXEC if path == cache else 0)  # noqa: E731
    monkeypatch.setattr(os, "statvfs", flags)

    assert "noexec" in refusal()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_folder_that_cant_be_written_to_is_not_used(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    opened = os.open

    def fail_in_the_cache(path: Path, *rest: int) -> int:
        if "XDG_CACHE_HOME" in str(path):
            raise OSError(error, os.strerror(error), str(path))
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", fail_in_the_cache)

    assert os.strerror(error).lower() in refusal()


def test_a_folder_whose_disk_fills_up_meanwhile_is_not_used(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", lambda _file, content: len(content) - 1)

    found = private_folder()

    assert found.path is None
    assert all("no room" in reason for reason in found.refused)
    assert not list((folders / "XDG_CACHE_HOME/mlxwire").iterdir())


@pytest.mark.parametrize("cache", ["relative/folder", ".", "~/.cache"])
def test_a_folder_that_depends_on_the_working_folder_is_not_used(
    folders: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cache)

    assert private_folder() == (in_temporary(folders), ())


def test_without_a_home_and_without_a_temporary_folder_there_is_another(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "HOME", "TMPDIR"):
        monkeypatch.setenv(name, "/proc/nothing")
    monkeypatch.setattr(module, "_SHARED", (str(folders),))

    found = private_folder()

    assert found.path == folders / f"mlxwire-{os.geteuid()}"
    assert len(found.refused) == 2
