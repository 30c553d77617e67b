"""MLX keeps the kernels that it compiles where nobody else can plant one, and does without if it must."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlxwire_worker.process import kernel_folder, private_folder
from mlxwire_worker.requests.failures import failure_of
from support.driver import WORKER, Driver
from support.tiny_model import TINY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there MLX uses g++")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set a cache folder and a temporary folder below the test's own, and choose again."""
    for name in ("XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("MLX_DISABLE_COMPILE", "MLX_PTX_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that its value is restored after the test
        monkeypatch.delenv(name)
    monkeypatch.setattr(private_folder, "_SHARED", ())
    monkeypatch.setattr(kernel_folder, "_chosen", None)
    return tmp_path


def loaded(
    environment: dict[str, str], command: Sequence[str] = WORKER, *, warmup: bool = False
) -> Driver:
    """Return a new worker with the tiny model."""
    worker = Driver(command=command, environment=environment)
    worker.hello()
    worker.load(str(TINY), warmup=warmup)
    return worker


def continuation(worker: Driver) -> str:
    stream = worker.send("generate", prompt="Once upon a time", max_tokens=4)
    assert worker.final(stream)["type"] == "done", worker.final(stream)
    return worker.text(stream)


def generated(environment: dict[str, str]) -> str:
    with loaded(environment) as worker:
        return continuation(worker)


def own(folders: Path) -> dict[str, str]:
    """Return an environment with the folders of the test."""
    return {name: str(folders / name) for name in ("XDG_CACHE_HOME", "TMPDIR")}


def kernels_below(folder: Path) -> set[Path]:
    return set(folder.rglob("lib*.so"))


def test_kernels_are_kept_in_a_private_folder_and_used_again(folders: Path) -> None:
    first = generated(own(folders))
    kept = {path: path.stat().st_mtime_ns for path in kernels_below(folders)}
    second = generated(own(folders))

    assert kept
    private = folders / "XDG_CACHE_HOME/mlxwire"
    assert all(private in path.parents for path in kept)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {path: path.stat().st_mtime_ns for path in kernels_below(folders)} == kept
    assert first == second
    assert not list((folders / "TMPDIR").iterdir())


def test_a_planted_kernel_is_not_loaded(folders: Path) -> None:
    expected = generated(own(folders))
    for kernel in kernels_below(folders):
        planted = folders / "TMPDIR/mlx" / kernel.parents[1].name / "cpu" / kernel.name
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.write_bytes(b"planted")  # MLX would fail to load it
        kernel.unlink()

    assert generated(own(folders)) == expected


def test_without_any_folder_mlx_compiles_nothing_and_says_so(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, "/proc/nothing")

    assert kernel_folder.use_private_kernels().path is None
    assert os.environ["MLX_DISABLE_COMPILE"] == "1"
    assert "/proc/nothing/mlxwire" in (kernel_folder.slow_kernels() or "")
    program = (
        "from mlxwire_worker.process import private_folder; private_folder._SHARED = ()\n"
        "from mlxwire_worker.__main__ import main; main()"
    )
    with loaded({}, [sys.executable, "-P", "-c", program]) as worker:
        assert continuation(worker) == generated({"XDG_CACHE_HOME": str(folders)})
        assert "without compiled kernels" in worker.stderr()


def cut(folders: Path) -> None:
    for kernel in kernels_below(folders):
        kernel.write_bytes(kernel.read_bytes()[:100])


@pytest.mark.parametrize("warmup", [False, True])
def test_a_load_compiles_kernels_that_were_cut(folders: Path, warmup: bool) -> None:
    expected = generated(own(folders))
    cut(folders)

    with loaded(own(folders), warmup=warmup) as worker:
        assert not warmup or continuation(worker) == expected


def test_a_cut_kernel_is_removed_by_the_request_that_meets_it(folders: Path) -> None:
    kernel_folder.use_private_kernels()
    library = Path(kernel_folder._temporary_folder()) / "mlx" / "0.1" / "cpu" / "libX.so"
    library.parent.mkdir(parents=True)
    library.touch()
    assert library.is_relative_to(folders)
    error = RuntimeError(f"[Compile::eval_cpu] Could not load C++ shared library {library}: x")

    assert failure_of(error).code == "unavailable"
    assert not library.exists()


@pytest.mark.usefixtures("folders")
def test_a_computation_is_not_repeated_if_no_kernel_was_removed() -> None:
    kernel_folder.use_private_kernels()
    calls: list[str] = []

    def compute() -> None:
        calls.append("again")
        raise RuntimeError("[Compile::eval_cpu] Failed to compile function X: no room")

    with pytest.raises(RuntimeError, match="no room"):
        kernel_folder.with_whole_kernels(compute)
    assert calls == ["again"]


def test_a_failure_of_the_compiler_is_no_defect_of_the_worker(folders: Path) -> None:
    error = RuntimeError("[Compile::eval_cpu] Failed to compile function X: Failed to execute")

    failure = failure_of(error)

    assert (failure.code, failure.retryable) == ("unavailable", True)
    assert failure.data == {"folder": str(folders / "TMPDIR")}


def test_the_variable_for_the_kernels_is_left_alone_elsewhere(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert kernel_folder.use_private_kernels() == (None, ())
    assert os.environ["TMPDIR"] == str(folders / "TMPDIR")
    assert kernel_folder.slow_kernels() is None


def test_a_worker_computes_where_home_cache_and_temporary_folder_are_missing() -> None:
    environment = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), "/proc/nothing")

    assert generated(environment) == generated({})


def test_compilation_is_tried_only_where_a_compiler_is(folders: Path) -> None:
    assert generated({"PATH": str(folders)}) == generated({})


@pytest.fixture
def cuda(folders: Path) -> Path:
    """Return the folder for the kernels of a CUDA device."""
    kernel_folder.use_private_kernels()
    kernel_folder.keep_kernels_apart("0.1", "sm_90")
    folder = Path(os.environ["MLX_PTX_CACHE_DIR"])
    assert folders in folder.parents
    folder.mkdir(parents=True)
    return folder


def write_kernel(folder: Path, name: str, *, length: int = 200, source: str = "…") -> Path:
    """Write a kernel as MLX does: an ELF file whose section headers end at byte 200."""
    header = bytearray(64)
    header[:4] = b"\x7fELF"
    header[40:48] = (136).to_bytes(8, "little")
    header[58:60], header[60:62] = (64).to_bytes(2, "little"), (1).to_bytes(2, "little")
    kernel = folder / f"{name}.ptx"
    kernel.write_bytes(bytes(header + bytes(136))[:length])
    kernel.with_suffix(".txt").write_text("function\tmangled\n")
    kernel.with_suffix(".cu").write_text(source)
    return kernel


def test_kernels_of_unlike_cards_are_kept_apart_unless_the_host_named_a_folder(
    cuda: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cuda.name == "cuda-sm_90"
    monkeypatch.setenv("MLX_PTX_CACHE_DIR", "/named/by/the/host")
    kernel_folder.keep_kernels_apart("0.1", "sm_80")
    assert os.environ["MLX_PTX_CACHE_DIR"] == "/named/by/the/host"


def test_a_kernel_of_a_card_that_was_cut_is_removed_before_the_driver_loads_it(
    cuda: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_kernel(cuda, "whole")
    for length in (0, 40, 199):
        write_kernel(cuda, f"cut{length}", length=length)
    write_kernel(cuda, "killed", source="")

    monkeypatch.delenv("MLX_PTX_CACHE_DIR")
    kernel_folder.keep_kernels_apart("0.1", "sm_90")

    assert kernel_folder.compiled_kernels() == {str(whole)}


def test_a_kernel_that_a_card_refuses_is_removed(cuda: Path) -> None:
    kept, refused = write_kernel(cuda, "gather"), write_kernel(cuda, "gather_axis")

    failure = failure_of(RuntimeError("Failed to load compiled gather_axis kernel: ."))

    assert (failure.code, failure.retryable) == ("unavailable", True)
    assert kept.exists()
    assert not refused.exists()


@pytest.mark.usefixtures("folders")
def test_without_any_folder_a_card_keeps_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, "/proc/nothing")

    kernel_folder.use_private_kernels()

    with pytest.raises(OSError, match="Not a directory"):
        Path(os.environ["MLX_PTX_CACHE_DIR"]).mkdir(parents=True)
