"""Libraries and verdicts are kept where nobody else can write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mlxwire_worker.mlx_engine.mlx_patches.blas.private_folder import private_folder


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set a cache folder and a temporary folder below the test's own."""
    for name in ("XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


def test_the_folder_is_created_for_this_user_alone(folders: Path) -> None:
    folder = private_folder()

    assert folder == folders / "XDG_CACHE_HOME/mlxwire"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert private_folder() == folder


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755])
def test_a_folder_that_others_may_enter_is_not_used(folders: Path, mode: int) -> None:
    (folders / "XDG_CACHE_HOME/mlxwire").mkdir()
    (folders / "XDG_CACHE_HOME/mlxwire").chmod(mode)

    assert private_folder() == folders / f"TMPDIR/mlxwire-{os.geteuid()}"


def test_a_link_or_a_file_is_not_used(folders: Path) -> None:
    (folders / "elsewhere").mkdir(mode=0o700)
    (folders / "XDG_CACHE_HOME/mlxwire").symlink_to(folders / "elsewhere")
    (folders / f"TMPDIR/mlxwire-{os.geteuid()}").write_text("")

    assert private_folder() is None


def test_a_folder_of_somebody_else_is_not_used(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders / "XDG_CACHE_HOME/mlxwire").mkdir(mode=0o700)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)

    assert private_folder() is None
