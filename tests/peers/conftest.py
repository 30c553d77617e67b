from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

PROGRAM = Path(__file__).parent / "peft_program.py"
VECTORS_PROGRAM = Path(__file__).parent / "vectors_program.py"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    without = config.getoption("peers", default=None) is None
    return True if without and collection_path.name.startswith("test_") else None


class Peer:
    """A program in a process of its own, with the Python of the peers."""

    def __init__(self, python: str, program: Path) -> None:
        self._process = subprocess.Popen(
            [python, "-P", str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"HF_HUB_OFFLINE": "1"},
        )

    def ask(self, **job: Any) -> dict[str, Any]:
        """Have the program do a job, and return its answer."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps(job), file=process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class Peft(Peer):
    """PEFT in a process of its own."""

    def __init__(self, python: str, scratch: Path) -> None:
        super().__init__(python, PROGRAM)
        self._scratch = scratch
        self._numbers = itertools.count()

    def make(self, config: dict[str, Any], out: Path) -> None:
        """Write a random model of a config into a folder, as transformers saves it."""
        self.ask(do="make", config=config, out=str(out))

    def save(self, model: Path, config: dict[str, Any], **options: Any) -> Path:
        """Return the folder of a random adapter that PEFT saved."""
        out = self._scratch / str(next(self._numbers))
        self.ask(do="save", model=str(model), out=str(out), config=config, **options)
        return out

    def logits(self, model: Path, adapter: Path | None, ids: list[list[int]]) -> mx.array:
        """Return the logits [B, T, V] of ids [B, T], as PEFT computes them with an adapter."""
        out = str(self._scratch / f"{next(self._numbers)}.safetensors")
        path = None if adapter is None else str(adapter)
        self.ask(do="compute", model=str(model), adapter=path, ids=ids, out=out)
        read: Any = mx.load(out)
        assert adapter is None or read["layers"].item() > 0
        return read["logits"]


@pytest.fixture(scope="session")
def peft(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peft]:
    program = Peft(request.config.getoption("peers"), tmp_path_factory.mktemp("peft"))
    yield program
    program.close()


@pytest.fixture(scope="session")
def sentence_transformers(request: pytest.FixtureRequest) -> Iterator[Peer]:
    program = Peer(request.config.getoption("peers"), VECTORS_PROGRAM)
    yield program
    program.close()
