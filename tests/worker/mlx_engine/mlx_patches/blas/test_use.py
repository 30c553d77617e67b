"""A fast BLAS is used if it proves itself; whatever else is found leaves MLX's own in place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from support.driver import Driver
from support.tiny_model import TINY, needs_tiny

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None or not find_spec("scipy_openblas32"),
    reason="needs Linux, g++ and scipy-openblas32",
)
TOLD = """
import json, sys
from mlxwire_worker.mlx_engine.mlx_patches.blas import use_fast_blas
used = use_fast_blas()
threads = used.threads.count if used.threads else None
told = {"name": used.name, "slow": used.slow, "threads": threads}
told["probed"] = "mlxwire_worker.mlx_engine.mlx_patches.blas.probe" in sys.modules
import mlx.core as mx
a = mx.arange(6.0).reshape(2, 3)
print(json.dumps({**told, "product": (a @ a.T).tolist()}))
"""
FUNCTIONS = """
extern "C" void cblas_sgemm() { BODY }
extern "C" void cblas_dgemm() { BODY }
extern "C" void cblas_cgemm() { BODY }
"""
PRODUCT = [[5.0, 14.0], [14.0, 50.0]]


def compile_library(folder: Path, body: str) -> Path:
    """Build a library with the three names of a BLAS, all with the same body."""
    library = folder / "libwrong.so"
    command = ["g++", "-x", "c++", "-", "-shared", "-fPIC", "-o", str(library)]
    source = "#include <cstdlib>\n" + FUNCTIONS.replace("BODY", body)
    subprocess.run(command, input=source.encode(), check=True)
    return library


def start(cache: Path, **environment: str) -> dict[str, Any]:
    """Return what a process says that begins as a worker does, with a cache folder of its own."""
    plain = {name: value for name, value in os.environ.items() if name != "MLXWIRE_BLAS"}
    ended = subprocess.run(
        [sys.executable, "-c", TOLD],
        env={**plain, "XDG_CACHE_HOME": str(cache), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(ended.stdout)
    assert told["product"] == PRODUCT
    return told


def test_the_package_is_used_and_only_the_first_start_probes_it(tmp_path: Path) -> None:
    first, second = start(tmp_path), start(tmp_path)

    assert first["name"].startswith("OpenBLAS ")
    assert (first["slow"], first["threads"]) == (None, 1)
    assert first["probed"]
    assert not second["probed"]
    assert {**first, "probed": 0} == {**second, "probed": 0}


def test_a_library_that_changed_is_probed_again(tmp_path: Path) -> None:
    library = compile_library(tmp_path, "abort();")
    start(tmp_path, MLXWIRE_BLAS=str(library))
    assert not start(tmp_path, MLXWIRE_BLAS=str(library))["probed"]
    os.utime(library, ns=(1, 1))

    assert start(tmp_path, MLXWIRE_BLAS=str(library))["probed"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda shim: shim.write_text("no library")])
def test_a_shim_that_is_missing_or_damaged_is_built_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    start(tmp_path)
    (shim,) = tmp_path.glob("mlxwire/*.so")
    damage(shim)

    assert start(tmp_path)["name"].startswith("OpenBLAS ")
    assert not start(tmp_path)["probed"]


def test_a_library_that_the_user_names_is_used(tmp_path: Path) -> None:
    spec = find_spec("scipy_openblas32")
    assert spec is not None
    assert spec.origin is not None
    (library,) = (Path(spec.origin).parent / "lib").glob("lib*.so")

    assert start(tmp_path, MLXWIRE_BLAS=str(library))["name"].startswith("OpenBLAS ")


def test_a_relative_path_is_below_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = compile_library(tmp_path, "")
    monkeypatch.chdir(tmp_path)

    slow = start(tmp_path, MLXWIRE_BLAS=library.name)["slow"]

    assert slow == f"{library}: its matrix products are wrong"


def test_a_home_folder_that_does_not_exist_is_a_wrong_path(tmp_path: Path) -> None:
    slow = start(tmp_path, MLXWIRE_BLAS="~nobody-has-this-name/lib.so")["slow"]

    assert "correct its path" in slow


def test_off_leaves_mlx_as_it_is(tmp_path: Path) -> None:
    told = start(tmp_path, MLXWIRE_BLAS="off")

    assert (told["name"], told["slow"]) == (None, "MLXWIRE_BLAS is off")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("abort();", "its probe crashed with SIGABRT"),
        ("*(volatile int *)8 = 1;", "its probe crashed with SIGSEGV"),
        ("exit(0);", "its probe ended with 0 and told nothing"),
        ("", "its matrix products are wrong"),
    ],
)
def test_a_library_that_is_broken_is_not_used(tmp_path: Path, body: str, reason: str) -> None:
    library = compile_library(tmp_path, body)

    for _ in range(2):
        told = start(tmp_path, MLXWIRE_BLAS=str(library))

        assert (told["name"], told["slow"]) == (None, f"{library}: {reason}")


def test_what_is_no_library_is_not_used(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("no library")
    missing = tmp_path / "missing.so"
    maps = Path("/proc/self/maps").read_text().splitlines()
    (libc,) = {line.split()[-1] for line in maps if "libc.so" in line}

    assert "it can't be opened" in start(tmp_path, MLXWIRE_BLAS=str(text))["slow"]
    assert "correct its path" in start(tmp_path, MLXWIRE_BLAS=str(missing))["slow"]
    assert "it is no BLAS" in start(tmp_path, MLXWIRE_BLAS=libc)["slow"]


def test_a_library_that_lacked_another_one_is_probed_again(tmp_path: Path) -> None:
    needed, library = tmp_path / "libneeded.so", tmp_path / "libblas.so"
    build = ["g++", "-x", "c++", "-", "-shared", "-fPIC"]
    subprocess.run([*build, "-o", str(needed)], input=b"int needed = 1;", check=True)
    source = "extern int needed; int use() { return needed; }" + FUNCTIONS.replace("BODY", "")
    linked = ["-x", "none", str(needed), f"-Wl,-rpath,{tmp_path}", "-o", str(library)]
    subprocess.run([*build, *linked], input=source.encode(), check=True)
    needed.rename(tmp_path / "elsewhere.so")
    assert "can't be opened" in start(tmp_path, MLXWIRE_BLAS=str(library))["slow"]

    (tmp_path / "elsewhere.so").rename(needed)

    assert "products are wrong" in start(tmp_path, MLXWIRE_BLAS=str(library))["slow"]


def test_a_probe_that_could_not_import_mlx_is_made_again(tmp_path: Path) -> None:
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text(
        "import sys\n"
        "if any('probe_program' in word for word in sys.orig_argv):\n"
        "    sys.modules['mlx'] = None\n"
    )

    assert "told nothing" in start(tmp_path, PYTHONPATH=str(tmp_path))["slow"]
    assert start(tmp_path)["name"].startswith("OpenBLAS ")


def test_without_the_package_the_remedy_is_told(tmp_path: Path) -> None:
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text(
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'scipy_openblas32' else found(name)\n"
    )

    told = start(tmp_path, PYTHONPATH=str(tmp_path))

    assert told["name"] is None
    assert "pip install scipy-openblas32" in told["slow"]


def test_without_a_compiler_the_package_is_not_used_and_the_next_start_tries_again(
    tmp_path: Path,
) -> None:
    told = start(tmp_path, PATH="")

    assert told["name"] is None
    assert "install g++" in told["slow"]
    assert start(tmp_path)["name"].startswith("OpenBLAS ")


def test_no_more_threads_are_started_than_the_process_may_use(tmp_path: Path) -> None:
    start(tmp_path)
    counting = TOLD.replace("import json", "import json, os").replace(
        "import mlx.core",
        "print(len(os.listdir('/proc/self/task')), file=sys.stderr)\nimport mlx.core",
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OPENBLAS_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", counting], env=environment, capture_output=True, check=True
    )

    assert ended.stderr.split() == [b"1"]


@needs_tiny
@pytest.mark.parametrize("body", [None, "abort();", ""])
def test_a_worker_without_a_fast_blas_serves_as_stored_and_says_so(
    tmp_path: Path, body: str | None
) -> None:
    named = "off" if body is None else str(compile_library(tmp_path, body))
    environment = {"MLXWIRE_BLAS": named, "XDG_CACHE_HOME": str(tmp_path)}
    with Driver(environment=environment) as worker:
        worker.hello()
        loaded = worker.load(str(TINY))
        asked = worker.send("chat", messages=[{"role": "user", "content": "What is 2 + 3?"}])
        worker.final(asked)

        assert worker.text(asked) == "5"
        assert (loaded["compute_dtype"], loaded["blas"]) == ("bfloat16", None)
        assert loaded["blas_threads"] == 0
        assert "MLX computes with its own BLAS, which is slow: " in worker.stderr()


@needs_tiny
def test_a_worker_with_a_fast_blas_computes_in_float32_and_is_silent(tmp_path: Path) -> None:
    with Driver(environment={"MLXWIRE_BLAS": "", "XDG_CACHE_HOME": str(tmp_path)}) as worker:
        worker.hello()
        loaded = worker.load(str(TINY))

        assert loaded["compute_dtype"] == "float32"
        assert loaded["blas"].startswith("OpenBLAS ")
        assert loaded["blas_threads"] >= 1
        assert worker.stderr() == ""
