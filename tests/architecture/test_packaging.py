"""The wheel, built and installed into clean environments, without and with `[mlx]`.

mlxwire's own code comes from the wheel, by pip. The third-party packages are those of this
environment, linked into the clean one: of them all, only what the wheel declares, so that a
requirement that was forgotten is missing there too. So it needs no network and takes seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

from support.driver import Driver
from support.repository import ROOT
from support.tiny_model import TINY

pytestmark = pytest.mark.timeout(300)
PACKAGES = {"mlxwire", "mlxwire_command", "mlxwire_protocol", "mlxwire_worker"}
NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MLXWIRE_WORKER")
WHERE = """
import json, sys, mlxwire, mlxwire.sync, mlxwire_protocol, mlxwire_worker
files = [mlxwire.__file__, mlxwire_protocol.__file__, mlxwire_worker.__file__]
print(json.dumps({"files": files, "modules": sorted(sys.modules)}))
"""


class Environment(NamedTuple):
    """A virtual environment with the wheel in it."""

    folder: Path

    def program(self, name: str) -> str:
        return str(self.folder / "bin" / name)

    def variables(self) -> dict[str, str]:
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**os.environ, **dict.fromkeys(NOT_INHERITED, ""), "PATH": path}

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of its programs, in its folder, far from the sources."""
        return subprocess.run(
            [self.program(name), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.variables(),
            timeout=60,
        )

    def pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", self.program("python")]
        command += ["--disable-pip-version-check", "--no-input", *arguments]
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def required(requirements: Sequence[str], extra: str = "") -> Iterator[Distribution]:
    """Return the distributions that these requirements bring along, as they are installed here."""
    waiting = [(Requirement(text), extra) for text in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, wanted = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": wanted}):
            continue
        found = distribution(requirement.name)
        for name in ("", *sorted(requirement.extras)):
            if (found.name, name) not in seen:
                seen.add((found.name, name))
                waiting += [(Requirement(text), name) for text in found.requires or ()]
        yield found


def link(distributions: Iterator[Distribution], site_packages: Path) -> None:
    """Make distributions importable there, by links to their files and folders."""
    for found in distributions:
        for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            target, place = Path(str(found.locate_file(name))), site_packages / name
            if target.exists() and not place.exists():
                place.symlink_to(target)


def make_environment(folder: Path, wheel: Path, extra: str = "") -> Environment:
    """Make a clean environment with the wheel and its requirements."""
    venv.create(folder, with_pip=False, symlinks=True)
    environment = Environment(folder)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    environment.pip("install", "--quiet", "--no-deps", "--no-index", str(wheel))
    metadata = next(site_packages.glob("mlxwire-*.dist-info"))
    declared = Distribution.at(metadata).requires or []
    link(required(declared, extra), site_packages)
    environment.pip("check")
    return environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    built = subprocess.run(
        [*command, str(folder), str(ROOT)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment without `[mlx]`."""
    return make_environment(tmp_path_factory.mktemp("base"), wheel)


@pytest.fixture(scope="module")
def real(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment with `[mlx]`."""
    return make_environment(tmp_path_factory.mktemp("mlx"), wheel, "mlx")


def test_the_wheel_holds_the_four_packages_typed_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]

    assert {name.partition("/")[0] for name in names} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    assert {Path(name).suffix for name in names} == {".py", ".typed"}
    sources = {
        str(file.relative_to(folder))
        for folder in (ROOT / "protocol", ROOT / "worker", ROOT / "client/python")
        for package in PACKAGES
        for file in (folder / package).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == sources


def test_without_the_extra_the_package_imports_from_the_wheel_and_brings_no_mlx(
    base: Environment,
) -> None:
    ran = base.run("python", "-c", WHERE)

    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert all(file.startswith(str(base.folder)) for file in told["files"])
    assert not {"mlx", "mlx_lm", "tokenizers", "typer", "rich"} & set(told["modules"])
    assert base.run("python", "-c", "import mlx").returncode == 1


def test_without_the_extra_the_commands_tell_their_version(base: Environment) -> None:
    version = distribution("mlxwire").version

    for name in ("mlxwire", "mlxwire-worker"):
        assert base.run(name, "--version").stdout == f"{name} {version}\n"


def test_without_the_extra_the_mock_holds_a_session(base: Environment) -> None:
    command = [base.program("mlxwire-worker"), "--engine", "mock"]
    with Driver(command=command, environment=base.variables()) as worker:
        worker.hello()
        worker.load("any")
        asked = worker.send("chat", messages=[{"role": "user", "content": "one two"}])

        assert worker.final(asked)["finish_reason"] == "stop"
        assert worker.text(asked) == "one two"
        assert worker.ask("quit")["ok"]
        assert worker.wait() == 0


def test_without_the_extra_the_command_line_runs_the_mock(base: Environment) -> None:
    ran = base.run("mlxwire", "chat", "any", "one two", "--engine", "mock", "--quiet")

    assert (ran.returncode, ran.stdout) == (0, "one two\n"), ran.stderr


def test_without_the_extra_a_real_model_says_in_one_line_what_to_install(
    base: Environment,
) -> None:
    ran = base.run("mlxwire", "generate", str(TINY), "Hi", "--quiet")

    assert ran.returncode == 1
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith("error: model_load_failed: ")
    assert "pip install 'mlxwire[mlx]'" in line


def test_with_the_extra_the_real_worker_answers(real: Environment) -> None:
    ran = real.run("mlxwire", "chat", str(TINY), "What is 2 + 3?", "--quiet")

    assert (ran.returncode, ran.stdout) == (0, "5\n"), ran.stderr
    told = json.loads(real.run("python", "-c", WHERE).stdout)
    assert all(file.startswith(str(real.folder)) for file in told["files"])


def test_with_the_extra_the_worker_holds_a_session(real: Environment) -> None:
    command = [real.program("mlxwire-worker")]
    with Driver(command=command, environment=real.variables()) as worker:
        worker.hello()
        worker.load(str(TINY))
        messages = [{"role": "user", "content": "What is 47 + 38?"}]
        asked = worker.send("chat", messages=messages)

        assert worker.final(asked)["finish_reason"] == "stop"
        assert worker.text(asked) == "85"
        assert worker.ask("quit")["ok"]
        assert worker.wait() == 0
