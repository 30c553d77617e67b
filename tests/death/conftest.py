from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from factories import build_model

DOOMED = Path(__file__).with_name("doomed_worker.py")
ENDLESS_LOOP = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a model with room for a very long prompt."""
    config = {"max_position_embeddings": 1 << 20}
    return str(build_model("qwen3", tmp_path_factory.mktemp("model"), config=config))


@pytest.fixture(scope="session")
def endless_model(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of the same model with a chat template that never ends."""
    folder = tmp_path_factory.mktemp("endless") / "model"
    shutil.copytree(model, folder)
    (folder / "chat_template.jinja").write_text(ENDLESS_LOOP)
    return str(folder)


class Doom:
    """A worker's command, and its fate in one word."""

    def __init__(self, folder: Path) -> None:
        self._fifo = folder / "doom"
        os.mkfifo(self._fifo)
        self.command = [sys.executable, str(DOOMED), str(self._fifo)]

    def strike(self, action: str) -> None:
        """Let the worker do it, now."""
        self._fifo.write_text(action)


@pytest.fixture
def doom(tmp_path: Path) -> Callable[[], Doom]:
    """Return a function that makes the one doomed worker of a test."""
    return lambda: Doom(tmp_path)
